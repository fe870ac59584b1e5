//! How rows lie in the database.

use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_ports::{Cas, Clock as _, PlainWrite, RowKey, StoreError, TableKind, TableSpec, Version};
use ridgeline_testkit::clock::TestClock;
use scylla::client::session::Session;

use crate::{CONDITIONAL, PLAIN, bare, opened, support};

const WEEK_SECS: i32 = 7 * 86_400;

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn soon() -> Option<Timestamp> {
    Some(TestClock::running().now().plus(DurationMs::from_secs(3_600)))
}

/// The TTL of the row's cell, as the database counts it down.
async fn ttl(session: &Session, keyspace: &str, key: &RowKey) -> Option<i32> {
    let statement =
        format!("SELECT TTL(cell) FROM {keyspace}.{} WHERE partition = ? AND clustering = ?", CONDITIONAL.name);
    let result = session.query_unpaged(statement, (&key.partition, &key.clustering)).await.expect("an answer");
    result.into_rows_result().expect("rows").single_row::<(Option<i32>,)>().expect("a row").0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_forgets_a_row_seven_days_after_its_last_expiry() {
    let Some(address) = support::address() else { return };
    ridgeline_testkit::covers!("R-192");
    let config = support::config(&address);
    let keyspace = config.keyspace.clone();
    let (cql, store) = opened(config).await;
    let session = bare(&address).await;
    let key = RowKey::new("p", "c");
    store.insert_new(CONDITIONAL, &key, value("1"), soon()).await.expect("an answer");
    let left = ttl(&session, &keyspace, &key).await.expect("a TTL");
    // Minutes pass at most between the write and the question.
    assert!((WEEK_SECS + 3_000..=WEEK_SECS + 3_601).contains(&left), "{left}");
    store.replace(CONDITIONAL, &key, Version(1), value("2"), None).await.expect("an answer");
    assert_eq!(ttl(&session, &keyspace, &key).await, None);
    store.replace(CONDITIONAL, &key, Version(2), value("3"), soon()).await.expect("an answer");
    assert!(ttl(&session, &keyspace, &key).await.is_some());
    cql.drop_keyspace().await.expect("dropped");
}

/// A row inserted to stay and then given an end leaves nothing behind: an `INSERT`'s marker would.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_database_forgot_is_not_there() {
    let Some(address) = support::address() else { return };
    let config = support::config(&address);
    let table = format!("{}.{}", config.keyspace, CONDITIONAL.name);
    let (cql, store) = opened(config).await;
    let key = RowKey::new("p", "c");
    store.insert_new(CONDITIONAL, &key, value("1"), None).await.expect("an answer");
    let session = bare(&address).await;
    let forget = format!(
        "UPDATE {table} USING TTL 1 SET version = 2, cell = 0x00 WHERE partition = 'p' AND clustering = 'c' IF version = 1"
    );
    session.query_unpaged(forget, ()).await.expect("an answer");
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    let again = loop {
        match store.insert_new(CONDITIONAL, &key, value("2"), None).await {
            Ok(Cas::Applied(version)) => break version,
            // The cell written above is not one of the store's.
            Ok(Cas::Conflict(_)) | Err(StoreError::Corrupt(_)) if tokio::time::Instant::now() < patience => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => panic!("not {other:?}"),
        }
    };
    assert_eq!(again, Version(1));
    cql.drop_keyspace().await.expect("dropped");
}

/// The database itself would prefer the cell that expires, or expires later.
#[tokio::test(flavor = "multi_thread")]
async fn plain_writes_of_one_time_agree_whatever_their_expiry() {
    let Some(address) = support::address() else { return };
    let (cql, store) = opened(support::config(&address)).await;
    let at = Timestamp::from_millis(1_000);
    let write = |expires_at| PlainWrite { at, expires_at };
    let later = soon().map(|time| time.plus(DurationMs::from_days(30)));
    for (number, expiries) in [[None, soon()], [soon(), None], [soon(), later], [later, soon()]].into_iter().enumerate()
    {
        let key = RowKey::new("p", number.to_string());
        store
            .put(
                PLAIN,
                &key,
                value("older and larger: zzz"),
                PlainWrite { at: Timestamp::from_millis(999), expires_at: None },
            )
            .await
            .expect("written");
        let (one, other) = tokio::join!(
            store.put(PLAIN, &key, value("right"), write(expiries[0])),
            store.put(PLAIN, &key, value("left"), write(expiries[1])),
        );
        one.and(other).expect("written");
        // A replay changes nothing.
        store.put(PLAIN, &key, value("left"), write(expiries[1])).await.expect("written");
        let row = store.get(PLAIN, &key).await.expect("a read").expect("a row");
        assert_eq!((row.value, row.expires_at), (value("right"), expiries[0]), "{expiries:?}");
        let range = store.range(PLAIN, "p", None, 10).await.expect("a range");
        assert_eq!(range[number].1.value, value("right"));
        store
            .put(PLAIN, &key, value("a"), PlainWrite { at: Timestamp::from_millis(1_001), expires_at: None })
            .await
            .expect("written");
        assert_eq!(store.get(PLAIN, &key).await.expect("a read").expect("a row").value, value("a"));
    }
    // A deletion of the same time wins over all of them.
    store.delete(PLAIN, &RowKey::new("p", "0"), Timestamp::from_millis(1_001)).await.expect("deleted");
    assert_eq!(store.get(PLAIN, &RowKey::new("p", "0")).await.expect("a read"), None);
    cql.drop_keyspace().await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_scans_go_over_the_databases_pages() {
    let Some(address) = support::address() else { return };
    let (cql, store) = opened(support::config(&address)).await;
    let write = PlainWrite { at: Timestamp::from_millis(1), expires_at: None };
    for number in 0..100 {
        store.put(PLAIN, &RowKey::new("p", format!("{number:03}")), value("v"), write).await.expect("written");
    }
    for (after, limit, expected) in [(None, 80, 0..80), (Some("009"), 1_000, 10..100), (Some("098"), 5, 99..100)] {
        let range = store.range(PLAIN, "p", after, limit).await.expect("a range");
        let names: Vec<String> = range.into_iter().map(|(key, _)| key.clustering).collect();
        assert_eq!(names, expected.map(|number| format!("{number:03}")).collect::<Vec<_>>());
    }
    assert!(store.range(PLAIN, "p", None, 0).await.expect("a range").is_empty());
    let (mut seen, mut token) = (0, None);
    loop {
        let page = store.scan(PLAIN, token.as_ref(), 10_000).await.expect("a page");
        seen += page.rows.len();
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, 100);
    cql.drop_keyspace().await.expect("dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_only_where_that_is_allowed_and_must_fit() {
    let Some(address) = support::address() else { return };
    let config = support::config(&address);
    let mut forbidden = support::config(&address);
    forbidden.keyspace.clone_from(&config.keyspace);
    forbidden.create_tables = false;
    let keyspace = config.keyspace.clone();
    let made = support::connect(config).await.expect("a connection");
    let used = support::connect(forbidden).await.expect("a connection");
    let refused = used.store().ensure_tables(&[PLAIN]).await;
    let Err(StoreError::Misuse { table, what }) = refused else { panic!("not {refused:?}") };
    assert!(table == PLAIN.name && what.contains("ridgeline migrate"), "{what}");
    made.store().ensure_tables(&[PLAIN, CONDITIONAL]).await.expect("tables");
    used.store().ensure_tables(&[PLAIN, CONDITIONAL]).await.expect("tables that are there");
    let session = bare(&address).await;
    session.query_unpaged(format!("CREATE TABLE {keyspace}.foreign (id int PRIMARY KEY)"), ()).await.expect("a table");
    for kind in [TableKind::Plain, TableKind::Conditional] {
        let refused = made.store().ensure_tables(&[TableSpec { name: "foreign", kind }]).await;
        assert!(matches!(refused, Err(StoreError::Misuse { table: "foreign", .. })), "{refused:?}");
    }
    made.drop_keyspace().await.expect("dropped");
}
