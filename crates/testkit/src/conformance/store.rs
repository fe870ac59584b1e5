//! Conditional and plain tables.

use std::collections::BTreeSet;

use bytes::Bytes;
use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::{Cas, PlainWrite, RowKey, Store, StoreError, TableKind, TableSpec, Version};

use super::StoreFixture;

const CONDITIONAL: TableSpec = TableSpec { name: "conformance_conditional", kind: TableKind::Conditional };
const PLAIN: TableSpec = TableSpec { name: "conformance_plain", kind: TableKind::Plain };
const SCANNED: TableSpec = TableSpec { name: "conformance_scanned", kind: TableKind::Plain };

type Tables = std::sync::Arc<dyn Store>;

async fn tables(fixture: &dyn StoreFixture) -> Tables {
    let store = fixture.store();
    for _ in 0..2 {
        store.ensure_tables(&[CONDITIONAL, PLAIN, SCANNED]).await.expect("tables");
    }
    store
}

fn key(fixture: &dyn StoreFixture, name: &str) -> RowKey {
    RowKey::new(format!("{}{name}", fixture.prefix()), "row")
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn at(millis: i64) -> PlainWrite {
    PlainWrite { at: Timestamp::from_millis(millis), expires_at: None }
}

async fn value_of(store: &Tables, table: TableSpec, key: &RowKey) -> Option<String> {
    let row = store.get(table, key).await.expect("a read")?;
    Some(String::from_utf8(row.value.to_vec()).expect("text"))
}

/// Of 32 concurrent inserts one applies; the others see the winner's row.
pub async fn one_of_many_inserts_wins(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "race"));
    let mut inserts = tokio::task::JoinSet::new();
    for number in 0..32 {
        let (store, key) = (store.clone(), key.clone());
        inserts.spawn(async move {
            let mine = bytes(&number.to_string());
            (mine.clone(), store.insert_new(CONDITIONAL, &key, mine, None).await.expect("an answer"))
        });
    }
    let ended = inserts.join_all().await;
    let winners: Vec<_> = ended.iter().filter(|(_, cas)| *cas == Cas::Applied(Version(1))).collect();
    assert_eq!(winners.len(), 1);
    for (_, cas) in ended.iter().filter(|(_, cas)| *cas != Cas::Applied(Version(1))) {
        let Cas::Conflict(Some(row)) = cas else { panic!("a conflict with the winner, not {cas:?}") };
        assert_eq!((&row.value, row.version), (&winners[0].0, Version(1)));
    }
    assert_eq!(store.get(CONDITIONAL, &key).await.expect("a read").expect("a row").value, winners[0].0);
}

/// Each applied replace raises the version by one; one that expects another version changes nothing.
pub async fn versions_rise_and_stale_writes_conflict(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "versions"));
    let missing = store.replace(CONDITIONAL, &key, Version(1), bytes("x"), None).await.expect("an answer");
    assert_eq!(missing, Cas::Conflict(None));
    let inserted = store.insert_new(CONDITIONAL, &key, bytes("1"), None).await.expect("an answer");
    assert_eq!(inserted, Cas::Applied(Version(1)));
    for version in 1..5 {
        let value = bytes(&(version + 1).to_string());
        let replaced = store.replace(CONDITIONAL, &key, Version(version), value, None).await.expect("an answer");
        assert_eq!(replaced, Cas::Applied(Version(version + 1)));
    }
    let expires_at = Some(Timestamp::from_millis(4_000_000_000_000));
    let stale = store.replace(CONDITIONAL, &key, Version(4), bytes("x"), expires_at).await.expect("an answer");
    let Cas::Conflict(Some(row)) = stale else { panic!("a conflict, not {stale:?}") };
    assert_eq!((row.version, row.value, row.expires_at), (Version(5), bytes("5"), None));
    let stale = store.remove(CONDITIONAL, &key, Version(4)).await.expect("an answer");
    assert!(matches!(stale, Cas::Conflict(Some(_))), "{stale:?}");
    let replaced = store.replace(CONDITIONAL, &key, Version(5), bytes("6"), expires_at).await.expect("an answer");
    assert_eq!(replaced, Cas::Applied(Version(6)));
    let row = store.get(CONDITIONAL, &key).await.expect("a read").expect("a row");
    assert_eq!((row.version, row.value, row.expires_at), (Version(6), bytes("6"), expires_at));
}

/// Counters raised by read and replace count every success.
pub async fn concurrent_replaces_lose_no_update(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "counter"));
    store.insert_new(CONDITIONAL, &key, bytes("0"), None).await.expect("an answer");
    let mut counters = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, key) = (store.clone(), key.clone());
        counters.spawn(async move {
            let mut applied = 0;
            while applied < 10 {
                let row = store.get(CONDITIONAL, &key).await.expect("a read").expect("a row");
                let count: u32 = std::str::from_utf8(&row.value).expect("text").parse().expect("a number");
                let value = bytes(&(count + 1).to_string());
                let cas = store.replace(CONDITIONAL, &key, row.version, value, None).await.expect("an answer");
                applied += u32::from(matches!(cas, Cas::Applied(_)));
            }
        });
    }
    counters.join_all().await;
    let row = store.get(CONDITIONAL, &key).await.expect("a read").expect("a row");
    assert_eq!((row.value, row.version), (bytes("80"), Version(81)));
}

/// What was acknowledged is there, whoever looks and however cheaply.
pub async fn a_peek_sees_every_acknowledged_write(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "peeked"));
    let peek = async |table| {
        let row = store.peek(table, &key).await.expect("a read");
        row.map(|row| (row.version, String::from_utf8(row.value.to_vec()).expect("text")))
    };
    assert_eq!(peek(CONDITIONAL).await, None);
    store.insert_new(CONDITIONAL, &key, bytes("1"), None).await.expect("an answer");
    assert_eq!(peek(CONDITIONAL).await, Some((Version(1), "1".to_owned())));
    for number in 1..20 {
        let value = (number + 1).to_string();
        store.replace(CONDITIONAL, &key, Version(number), bytes(&value), None).await.expect("an answer");
        assert_eq!(peek(CONDITIONAL).await, Some((Version(number + 1), value)));
    }
    store.remove(CONDITIONAL, &key, Version(20)).await.expect("an answer");
    assert_eq!(peek(CONDITIONAL).await, None);
    store.put(PLAIN, &key, bytes("plain"), at(1)).await.expect("a write");
    assert_eq!(peek(PLAIN).await, Some((Version(0), "plain".to_owned())));
}

/// Removing takes the row away; inserting again starts at version 1.
pub async fn a_removed_row_starts_again(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "removed"));
    assert_eq!(store.remove(CONDITIONAL, &key, Version(1)).await.expect("an answer"), Cas::Conflict(None));
    store.insert_new(CONDITIONAL, &key, bytes("1"), None).await.expect("an answer");
    store.replace(CONDITIONAL, &key, Version(1), bytes("2"), None).await.expect("an answer");
    assert_eq!(store.remove(CONDITIONAL, &key, Version(2)).await.expect("an answer"), Cas::Applied(Version(2)));
    assert_eq!(store.get(CONDITIONAL, &key).await.expect("a read"), None);
    let again = store.insert_new(CONDITIONAL, &key, bytes("3"), None).await.expect("an answer");
    assert_eq!(again, Cas::Applied(Version(1)));
}

/// Plain writes are decided by their time, not by their order of arrival; a repeated write changes nothing.
pub async fn the_latest_plain_write_wins(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "plain"));
    for (value, time, expected) in [("b", 20, "b"), ("a", 10, "b"), ("c", 30, "c"), ("c", 30, "c"), ("b", 20, "c")] {
        store.put(PLAIN, &key, bytes(value), at(time)).await.expect("written");
        assert_eq!(value_of(&store, PLAIN, &key).await.as_deref(), Some(expected));
    }
    assert_eq!(store.get(PLAIN, &key).await.expect("a read").expect("a row").version, Version(0));
}

/// Two writes of the same time end the same in either order.
pub async fn equal_times_agree_on_the_larger_value(fixture: &dyn StoreFixture) {
    let store = tables(fixture).await;
    for (name, order) in [("up", ["left", "right"]), ("down", ["right", "left"])] {
        let key = key(fixture, name);
        for value in order {
            store.put(PLAIN, &key, bytes(value), at(50)).await.expect("written");
        }
        assert_eq!(value_of(&store, PLAIN, &key).await.as_deref(), Some("right"));
    }
}

/// A delete wins over earlier writes, also those that arrive later, and loses to later ones.
pub async fn a_deleted_row_stays_deleted_for_older_writes(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "deleted"));
    store.put(PLAIN, &key, bytes("a"), at(10)).await.expect("written");
    store.delete(PLAIN, &key, Timestamp::from_millis(5)).await.expect("an answer");
    assert_eq!(value_of(&store, PLAIN, &key).await.as_deref(), Some("a"));
    store.delete(PLAIN, &key, Timestamp::from_millis(20)).await.expect("deleted");
    assert_eq!(value_of(&store, PLAIN, &key).await, None);
    store.put(PLAIN, &key, bytes("b"), at(15)).await.expect("an answer");
    assert_eq!(value_of(&store, PLAIN, &key).await, None);
    assert!(store.range(PLAIN, &key.partition, None, 10).await.expect("a range").is_empty());
    store.put(PLAIN, &key, bytes("c"), at(30)).await.expect("written");
    assert_eq!(value_of(&store, PLAIN, &key).await.as_deref(), Some("c"));
}

/// A range is ascending, starts after the given key and ends at the limit; pages fit together.
pub async fn ranges_are_ordered_and_page(fixture: &dyn StoreFixture) {
    let store = tables(fixture).await;
    let partition = format!("{}range", fixture.prefix());
    for number in (0..25).rev() {
        let key = RowKey::new(&partition, format!("{number:03}"));
        store.put(PLAIN, &key, bytes(&number.to_string()), at(1)).await.expect("written");
    }
    let (mut after, mut seen, mut sizes) = (None, Vec::new(), Vec::new());
    loop {
        let page = store.range(PLAIN, &partition, after.as_deref(), 10).await.expect("a range");
        sizes.push(page.len());
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clustering.clone());
        seen.extend(page.into_iter().map(|(key, _)| key.clustering));
    }
    assert_eq!(sizes, [10, 10, 5, 0]);
    assert_eq!(seen, (0..25).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    let middle = store.range(PLAIN, &partition, Some("0105"), 2).await.expect("a range");
    assert_eq!(middle.iter().map(|(key, _)| key.clustering.as_str()).collect::<Vec<_>>(), ["011", "012"]);
}

/// Partition keys that begin alike, and equal keys in two tables, stay apart.
pub async fn partitions_do_not_mix(fixture: &dyn StoreFixture) {
    let store = tables(fixture).await;
    let prefix = fixture.prefix();
    for (partition, clustering) in [("a", "b"), ("ab", ""), ("a", ""), ("ab", "c"), ("a", "bc")] {
        let key = RowKey::new(format!("{prefix}{partition}"), clustering);
        store.put(PLAIN, &key, bytes(partition), at(1)).await.expect("written");
    }
    let of = async |partition: &str| -> Vec<String> {
        let rows = store.range(PLAIN, &format!("{prefix}{partition}"), None, 10).await.expect("a range");
        rows.into_iter().map(|(key, _)| key.clustering).collect()
    };
    assert_eq!(of("a").await, ["", "b", "bc"]);
    assert_eq!(of("ab").await, ["", "c"]);
    assert!(of("abc").await.is_empty());
    let other = RowKey::new(format!("{prefix}a"), "b");
    assert_eq!(store.get(CONDITIONAL, &other).await.expect("a read"), None);
}

/// A scan in small pages meets every row of the table once.
pub async fn a_scan_meets_each_row_once(fixture: &dyn StoreFixture) {
    let store = tables(fixture).await;
    let mut expected = BTreeSet::new();
    for number in 0..60 {
        let key = RowKey::new(format!("{}scan-{}", fixture.prefix(), number % 7), number.to_string());
        store.put(SCANNED, &key, bytes("v"), at(1)).await.expect("written");
        expected.insert(key);
    }
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let page = store.scan(SCANNED, token.as_ref(), 7).await.expect("a page");
        assert!(page.rows.len() <= 7);
        seen.extend(
            page.rows.into_iter().map(|(key, _)| key).filter(|key| key.partition.starts_with(&fixture.prefix())),
        );
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 60);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// A row is readable until seven days after `expires_at` and goes then; rows without one stay.
pub async fn rows_stay_until_seven_days_after_expiry(fixture: &dyn StoreFixture) {
    let store = tables(fixture).await;
    let (mortal, plain, eternal) = (key(fixture, "mortal"), key(fixture, "plain"), key(fixture, "eternal"));
    let soon = Some(now().plus(DurationMs::from_secs(60)));
    store.insert_new(CONDITIONAL, &mortal, bytes("m"), soon).await.expect("an answer");
    store.insert_new(CONDITIONAL, &eternal, bytes("e"), None).await.expect("an answer");
    let write = PlainWrite { at: now(), expires_at: soon };
    store.put(PLAIN, &plain, bytes("p"), write).await.expect("written");
    if !fixture.age(DurationMs::from_days(6)).await {
        return;
    }
    fixture.sweep().await;
    let row = store.get(CONDITIONAL, &mortal).await.expect("a read").expect("still there");
    assert_eq!(row.expires_at, soon);
    assert!(store.get(PLAIN, &plain).await.expect("a read").is_some());
    fixture.age(DurationMs::from_days(2)).await;
    fixture.sweep().await;
    assert_eq!(store.get(CONDITIONAL, &mortal).await.expect("a read"), None);
    assert_eq!(store.get(PLAIN, &plain).await.expect("a read"), None);
    assert!(store.get(CONDITIONAL, &eternal).await.expect("a read").is_some());
}

/// A row whose expiry was moved or taken away goes by the new one.
pub async fn a_renewed_row_stays(fixture: &dyn StoreFixture) {
    let store = tables(fixture).await;
    let (later, never) = (key(fixture, "later"), key(fixture, "never"));
    let soon = Some(now().plus(DurationMs::from_secs(60)));
    for (key, renewed) in [(&later, Some(now().plus(DurationMs::from_days(30)))), (&never, None)] {
        store.insert_new(CONDITIONAL, key, bytes("1"), soon).await.expect("an answer");
        store.replace(CONDITIONAL, key, Version(1), bytes("2"), renewed).await.expect("an answer");
    }
    if !fixture.age(DurationMs::from_days(8)).await {
        return;
    }
    fixture.sweep().await;
    assert!(store.get(CONDITIONAL, &later).await.expect("a read").is_some());
    assert!(store.get(CONDITIONAL, &never).await.expect("a read").is_some());
    fixture.age(DurationMs::from_days(30)).await;
    fixture.sweep().await;
    assert_eq!(store.get(CONDITIONAL, &later).await.expect("a read"), None);
    assert!(store.get(CONDITIONAL, &never).await.expect("a read").is_some());
}

/// Writes of the wrong kind, unknown tables and keys beyond 512 bytes are the caller's fault.
pub async fn misuse_is_refused(fixture: &dyn StoreFixture) {
    let (store, key) = (tables(fixture).await, key(fixture, "misuse"));
    let refused =
        |outcome: Result<(), StoreError>| assert!(matches!(outcome, Err(StoreError::Misuse { .. })), "{outcome:?}");
    refused(store.insert_new(PLAIN, &key, bytes("x"), None).await.map(|_| ()));
    refused(store.replace(PLAIN, &key, Version(0), bytes("x"), None).await.map(|_| ()));
    refused(store.remove(PLAIN, &key, Version(0)).await.map(|_| ()));
    refused(store.put(CONDITIONAL, &key, bytes("x"), at(1)).await);
    refused(store.delete(CONDITIONAL, &key, Timestamp::from_millis(1)).await);
    let unknown = TableSpec { name: "conformance_unknown", kind: TableKind::Plain };
    refused(store.get(unknown, &key).await.map(|_| ()));
    refused(store.put(unknown, &key, bytes("x"), at(1)).await);
    refused(store.put(PLAIN, &RowKey::single("x".repeat(513)), bytes("x"), at(1)).await);
    refused(store.put(PLAIN, &RowKey::single(""), bytes("x"), at(1)).await);
    let changed = TableSpec { name: PLAIN.name, kind: TableKind::Conditional };
    refused(store.ensure_tables(&[changed]).await);
    assert_eq!(store.get(PLAIN, &key).await.expect("a read"), None);
}

/// A value of 1 MiB, an empty one, and keys of any text come back.
pub async fn large_values_and_odd_keys_come_back(fixture: &dyn StoreFixture) {
    let store = tables(fixture).await;
    let large: Bytes = (0..1 << 20).map(|index: u32| (index % 253) as u8).collect::<Vec<_>>().into();
    let long = "x".repeat(512 - fixture.prefix().len());
    let names = [("ä/😀", "\u{7f} %"), ("a b", ""), (long.as_str(), "y")];
    for (value, (partition, clustering)) in [large, Bytes::new(), bytes("v")].into_iter().zip(names) {
        let key = RowKey::new(format!("{}{partition}", fixture.prefix()), clustering);
        store.insert_new(CONDITIONAL, &key, value.clone(), None).await.expect("an answer");
        let row = store.get(CONDITIONAL, &key).await.expect("a read").expect("a row");
        assert!(row.value == value, "the value is the same");
        let range = store.range(CONDITIONAL, &key.partition, None, 10).await.expect("a range");
        assert_eq!(range.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [key]);
    }
}

fn now() -> Timestamp {
    use ridgeline_ports::Clock as _;
    crate::clock::TestClock::running().now()
}
