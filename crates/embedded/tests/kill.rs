//! `kill -9` at random moments, a damaged journal tail, a full disk: what was acknowledged is there, once, as written.
//!
//! The test binary starts itself again with `RIDGELINE_CHILD` set; the child works in the directory and reports each
//! acknowledgement on its standard output before it goes on.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ridgeline_domain::DurationMs;
use ridgeline_embedded::{Embedded, EmbeddedError, EmbeddedOptions};
use ridgeline_ports::{
    Cas, Cleanup, Control, Delivery, EventLog, GroupId, LogError, MemberId, NewRecord, Offset, Partition, Record,
    RowKey, StartAt, Store, TableKind, TableSpec, TailStart, TopicName, TopicSpec, Version,
};
use ridgeline_testkit::clock::TestClock;

const PARTITIONS: u32 = 4;
const ROWS: TableSpec = TableSpec { name: "rows", kind: TableKind::Conditional };
const KILLS: u32 = 12;

fn open(dir: &Path) -> Embedded {
    let mut options = EmbeddedOptions::new(Arc::new(TestClock::running()));
    // Compaction runs all the time, so that kills meet it too.
    options.sweep_interval = Duration::from_millis(10);
    Embedded::open(dir, options).expect("the directory opens")
}

async fn make(embedded: &Embedded) {
    let topic = |name, cleanup| TopicSpec {
        name: TopicName::new(name),
        partitions: PARTITIONS,
        cleanup,
        record_bytes_max: 2 << 20,
    };
    let keep = Cleanup::Delete { retention: DurationMs::from_days(7) };
    let compact = Cleanup::Compact { delete_retention: DurationMs::from_days(7) };
    embedded.log().ensure_topic(&topic("all", keep)).await.unwrap();
    embedded.log().ensure_topic(&topic("last", compact)).await.unwrap();
    embedded.store().ensure_tables(&[ROWS]).await.unwrap();
}

/// Bytes that only this number has; some small, some that lie beside the tables, a few large.
fn value_of(number: u64) -> Bytes {
    let len = match number % 64 {
        0 => 600_000,
        1..8 => 5_000,
        small => usize::try_from(small).unwrap() * 10,
    };
    let mut value = number.to_be_bytes().to_vec();
    value.extend((0..len as u64).map(|index| (index.wrapping_mul(number) >> 3) as u8));
    value.into()
}

fn record(topic: &str, partition: Option<u32>, key: &str, value: Bytes) -> NewRecord {
    let (topic, key) = (TopicName::new(topic), Bytes::copy_from_slice(key.as_bytes()));
    NewRecord { topic, partition: partition.map(Partition), key, value: Some(value), headers: vec![] }
}

fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nACK {line}").unwrap();
    out.flush().unwrap();
}

async fn publish_for_ever(log: Arc<dyn EventLog>, first: u64) {
    for number in first.. {
        let partition = u32::try_from(number % u64::from(PARTITIONS)).unwrap();
        let appended = log.publish(record("all", Some(partition), "k", value_of(number))).await.unwrap();
        report(&format!("record {number} {partition} {}", appended.offset.0));
    }
}

async fn overwrite_for_ever(log: Arc<dyn EventLog>, key: String, first: u64) {
    for number in first.. {
        let value = Bytes::copy_from_slice(&number.to_be_bytes());
        log.publish(record("last", None, &key, value)).await.unwrap();
        report(&format!("last {key} {number}"));
    }
}

async fn replace_for_ever(store: Arc<dyn Store>, name: String) {
    let key = RowKey::single(&name);
    loop {
        let cas = match store.get(ROWS, &key).await.unwrap() {
            None => store.insert_new(ROWS, &key, value_of(1), None).await.unwrap(),
            Some(row) => store.replace(ROWS, &key, row.version, value_of(row.version.0 + 1), None).await.unwrap(),
        };
        let Cas::Applied(Version(version)) = cas else { panic!("nobody else writes this row") };
        report(&format!("row {name} {version}"));
    }
}

async fn commit_for_ever(log: Arc<dyn EventLog>) {
    let (topic, group, member) = (TopicName::new("all"), GroupId("g".into()), MemberId("m".into()));
    let mut subscription = log.subscribe(&topic, &group, &member, StartAt::Committed).await.unwrap();
    let Some(Control::Assigned(_)) = subscription.control.recv().await else { panic!("all partitions are free") };
    while let Some(delivery) = subscription.deliveries.recv().await {
        if let Delivery::Record { record: Record { partition, offset, .. }, .. } = delivery {
            subscription.handle.commit(&[(partition, offset.next())]).await.unwrap();
            report(&format!("committed {} {}", partition.0, offset.next().0));
        }
    }
}

/// The child's work; does nothing in an ordinary test run.
#[test]
fn child_until_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var("RIDGELINE_CHILD"), std::env::var("RIDGELINE_ROUND")) else { return };
    let round: u64 = round.parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let embedded = open(Path::new(&dir));
        make(&embedded).await;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16 {
            tasks.spawn(publish_for_ever(embedded.log(), (round << 40) + (task << 32)));
        }
        for task in 0..4 {
            tasks.spawn(overwrite_for_ever(embedded.log(), format!("key-{task}"), round << 40));
            tasks.spawn(replace_for_ever(embedded.store(), format!("row-{task}")));
        }
        tasks.spawn(commit_for_ever(embedded.log()));
        report("ready");
        tasks.join_next().await.unwrap().unwrap();
    });
}

/// Everything that was acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    /// Number → partition and offset.
    records: BTreeMap<u64, (u32, u64)>,
    /// Key → number.
    last: BTreeMap<String, u64>,
    /// Row → version.
    rows: BTreeMap<String, u64>,
    /// Partition → offset.
    committed: BTreeMap<u32, u64>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[..] {
            ["record", ..] => {
                let place = (u32::try_from(number(2)).unwrap(), number(3));
                assert!(self.records.insert(number(1), place).is_none());
            }
            ["last", key, _] => drop(self.last.insert(key.to_owned(), number(2))),
            ["row", row, _] => drop(self.rows.insert(row.to_owned(), number(2))),
            ["committed", ..] => drop(self.committed.insert(u32::try_from(number(1)).unwrap(), number(2))),
            ["ready"] => {}
            _ => panic!("an unknown report: {line}"),
        }
    }

    /// Notes whole lines until the child is gone.
    fn listen(&mut self, reports: &mut impl BufRead) {
        let mut line = String::new();
        while reports.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if let Some(report) = line.strip_prefix("ACK ").and_then(|rest| rest.strip_suffix('\n')) {
                self.note(report);
            }
            line.clear();
        }
    }

    async fn verify(&self, embedded: &Embedded) {
        let found = read_all(embedded, "all").await;
        let mut numbers = BTreeMap::new();
        let mut next = BTreeMap::new();
        for record in &found {
            let value = record.value.as_ref().unwrap();
            let number = u64::from_be_bytes(value[..8].try_into().unwrap());
            assert!(*value == value_of(number), "record {number} has other bytes");
            let place = (record.partition.0, record.offset.0);
            assert!(numbers.insert(number, place).is_none(), "record {number} is there twice");
            let expected = next.insert(record.partition, record.offset.0 + 1).unwrap_or(0);
            assert_eq!(record.offset.0, expected, "a hole in {:?}", record.partition);
        }
        for (number, place) in &self.records {
            assert_eq!(numbers.get(number), Some(place), "acknowledged record {number}");
        }
        let last: BTreeMap<_, _> =
            read_all(embedded, "last").await.into_iter().map(|record| (record.key, record.value)).collect();
        for (key, number) in &self.last {
            let value = last.get(key.as_bytes()).unwrap().as_ref().unwrap();
            assert!(u64::from_be_bytes(value[..].try_into().unwrap()) >= *number, "the last record of {key}");
        }
        for (name, version) in &self.rows {
            let row = embedded.store().get(ROWS, &RowKey::single(name)).await.unwrap().unwrap();
            // Each round may have written one version that it could not report any more.
            let written = *version..=version + u64::from(KILLS);
            assert!(written.contains(&row.version.0), "{name}: {:?} after {version}", row.version);
            assert!(row.value == value_of(row.version.0), "{name} has other bytes");
        }
        let committed = embedded.log().committed(&TopicName::new("all"), &GroupId("g".into())).await.unwrap();
        for (partition, offset) in &self.committed {
            assert!(committed[*partition as usize].is_some_and(|stored| stored >= Offset(*offset)));
        }
    }
}

async fn read_all(embedded: &Embedded, topic: &str) -> Vec<Record> {
    let mut tail = embedded.log().tail(&TopicName::new(topic), TailStart::Beginning).await.unwrap();
    let (mut records, mut ends) = (Vec::new(), 0);
    while ends < PARTITIONS {
        match tail.deliveries.recv().await.unwrap() {
            Delivery::Record { record, .. } => records.push(record),
            Delivery::End { .. } => ends += 1,
        }
    }
    records
}

fn spawn(mut command: Command, dir: &Path, round: u32) -> Child {
    command.env("RIDGELINE_CHILD", dir).env("RIDGELINE_ROUND", round.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a child, kills it some time after it is ready, and notes what it reported.
fn run_and_kill(dir: &Path, round: u32, acknowledged: &mut Acknowledged) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_until_killed", "--exact", "--nocapture"]);
    let mut child = spawn(command, dir, round);
    let mut reports = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "ACK ready\n" {
        line.clear();
        assert!(reports.read_line(&mut line).unwrap() > 0, "the child ended before it was ready");
        if let Some(report) = line.strip_prefix("ACK ").and_then(|rest| rest.strip_suffix('\n')) {
            acknowledged.note(report);
        }
    }
    let killer = std::thread::spawn(move || {
        let random = std::hash::RandomState::new().hash_one(round);
        std::thread::sleep(Duration::from_micros(5_000 + random % 150_000));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    acknowledged.listen(&mut reports);
    killer.join().unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_kills_at_random_moments() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    for round in 0..KILLS {
        run_and_kill(dir.path(), round, &mut acknowledged);
    }
    assert!(acknowledged.records.len() > 500 && acknowledged.rows.len() == 4 && acknowledged.last.len() == 4);
    let embedded = open(dir.path());
    acknowledged.verify(&embedded).await;
    embedded.sweep().await.unwrap();
    acknowledged.verify(&embedded).await;
    embedded.shutdown().await;
}

#[tokio::test]
async fn a_damaged_journal_tail_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    for (round, garbage) in [&[0xff; 700][..], &[0; 5_000], &[1, 2, 3]].into_iter().enumerate() {
        run_and_kill(dir.path(), u32::try_from(round).unwrap(), &mut acknowledged);
        let mut journal = std::fs::File::options().append(true).open(newest_journal(dir.path())).unwrap();
        journal.write_all(garbage).unwrap();
    }
    acknowledged.verify(&open(dir.path())).await;
}

/// What a power cut may leave of the batch that was being written: its end, but not all before it.
#[tokio::test]
async fn a_last_batch_with_a_hole_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    make(&embedded).await;
    for number in [10, 20, 1] {
        embedded.log().publish(record("all", Some(0), "k", value_of(number))).await.unwrap();
    }
    embedded.shutdown().await;
    let journal = newest_journal(dir.path());
    let mut bytes = std::fs::read(&journal).unwrap();
    let last = value_of(1);
    let at = bytes.windows(64).position(|window| *window == last[..64]).unwrap();
    bytes[at + 1_000..at + 3_000].fill(0);
    std::fs::write(&journal, bytes).unwrap();

    let embedded = open(dir.path());
    assert_eq!(read_all(&embedded, "all").await.len(), 2);
    let appended = embedded.log().publish(record("all", Some(0), "k", value_of(30))).await.unwrap();
    assert_eq!(appended.offset, Offset(2));
    embedded.shutdown().await;
    assert_eq!(read_all(&open(dir.path()), "all").await.len(), 3);
}

fn newest_journal(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap()
}

/// The child's work under a limit of file sizes; does nothing in an ordinary test run.
#[test]
fn child_until_disk_full() {
    let Ok(dir) = std::env::var("RIDGELINE_CHILD") else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let embedded = open(Path::new(&dir));
        make(&embedded).await;
        let mut refused = 0;
        for number in (0..500).map(|index| index * 64) {
            // Two topics share the journal, so that it meets the limit before either writes its table.
            let large = Bytes::from(vec![7; 600_000]);
            let _ = embedded.log().publish(record("last", Some(0), &number.to_string(), large)).await;
            match embedded.log().publish(record("all", Some(0), "k", value_of(number))).await {
                Ok(appended) => {
                    assert_eq!(refused, 0, "no acknowledgement after a refusal");
                    report(&format!("record {number} 0 {}", appended.offset.0));
                }
                Err(LogError::Unavailable(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            if refused == 10 {
                report("refused");
                return;
            }
        }
    });
}

/// A disk that takes no more refuses publishes; none is acknowledged wrongly, and with room again all goes on.
#[tokio::test]
async fn a_full_disk_refuses_and_never_acknowledges_wrongly() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // 66 MiB per file, of which the journal asks for 64 at once; without the signal the write fails as on a full disk.
    let limited = "trap '' XFSZ; ulimit -f 135168; exec \"$0\" child_until_disk_full --exact --nocapture";
    command.arg("-c").arg(limited).arg(std::env::current_exe().unwrap());
    let mut child = spawn(command, dir.path(), 0);
    let mut reports = String::new();
    child.stdout.take().unwrap().read_to_string(&mut reports).unwrap();
    child.wait().unwrap();
    assert!(reports.contains("ACK refused\n"), "the limit was met");
    let mut acknowledged = Acknowledged::default();
    acknowledged.listen(&mut reports.replace("ACK refused\n", "").as_bytes());
    assert!(!acknowledged.records.is_empty());
    let embedded = open(dir.path());
    acknowledged.verify(&embedded).await;
    embedded.log().publish(record("all", Some(0), "k", value_of(1 << 50))).await.unwrap();
}

/// When retention has deleted everything, ends, append times and committed offsets are the same after a restart.
#[tokio::test]
async fn ends_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::running());
    let topic = TopicName::new("all");
    let embedded = Embedded::open(dir.path(), EmbeddedOptions::new(clock.clone())).unwrap();
    make(&embedded).await;
    for number in 0..700 {
        embedded.log().publish(record("all", Some(0), "k", value_of(1 + number % 60))).await.unwrap();
    }
    let last = embedded.log().publish(record("all", Some(0), "k", value_of(1))).await.unwrap();
    clock.advance(DurationMs::from_days(8));
    embedded.sweep().await.unwrap();
    assert!(read_all(&embedded, "all").await.is_empty());
    embedded.shutdown().await;

    clock.advance(DurationMs(-DurationMs::from_days(9).0));
    let embedded = Embedded::open(dir.path(), EmbeddedOptions::new(clock)).unwrap();
    assert_eq!(embedded.log().end_offsets(&topic).await.unwrap()[0], Offset(701));
    let next = embedded.log().publish(record("all", Some(0), "k", value_of(1))).await.unwrap();
    assert_eq!(next.offset, Offset(701));
    assert!(next.append_time >= last.append_time, "append times never fall, though the clock went back");
}

#[tokio::test]
async fn a_directory_has_one_user_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let (log, store) = (first.log(), first.store());
    make(&first).await;
    let options = EmbeddedOptions::new(Arc::new(TestClock::running()));
    let second = Embedded::open(dir.path(), options).unwrap_err();
    assert!(matches!(second, EmbeddedError::InUse(_)));
    assert!(second.to_string().ends_with("is in use by another process"), "{second}");

    let topic = TopicName::new("all");
    let mut tail = log.tail(&topic, TailStart::End).await.unwrap();
    log.publish(record("all", Some(0), "k", value_of(5))).await.unwrap();
    first.shutdown().await;
    let refused = log.publish(record("all", Some(0), "k", value_of(6))).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    assert!(store.get(ROWS, &RowKey::single("x")).await.is_err());
    while tail.deliveries.recv().await.is_some() {}
    let again = open(dir.path());
    assert_eq!(again.log().end_offsets(&topic).await.unwrap()[0], Offset(1));
}
