//! Conditional writes through the port against the same statements sent by the bare driver, in the same run, on the same database.
//!
//! `RIDGELINE_TEST_CQL=127.0.0.1:19042 cargo bench --bench store`. Many short rounds of both take turns, and take turns in being first,
//! so that whatever else the machine and the database do falls on both; the figure is the median of the rounds' ratios.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use ridgeline_benches::{Timed, time};
use ridgeline_cql::{Cql, CqlConfig};
use ridgeline_ports::{Cas, Entropy as _, RowKey, Store, TableKind, TableSpec, Version};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::prepared::PreparedStatement;

const TABLE: TableSpec = TableSpec { name: "bench_rows", kind: TableKind::Conditional };
const VALUE: &[u8] = &[7; 1_024];
const ROUNDS: usize = 41;
/// What the issue asks for.
const RATIO_MAX: f64 = 1.15;

#[tokio::main]
async fn main() -> Result<()> {
    let Some(address) = std::env::var("RIDGELINE_TEST_CQL").ok().filter(|address| !address.is_empty()) else {
        println!("skipped: RIDGELINE_TEST_CQL is not set");
        return Ok(());
    };
    let mut random = [0; 4];
    SystemEntropy.fill(&mut random);
    let mut config = CqlConfig::new(vec![address.clone()], format!("bench_{:08x}", u32::from_be_bytes(random)));
    (config.create_keyspace, config.create_tables) = (true, true);
    let keyspace = config.keyspace.clone();
    let cql = Cql::connect(config, Arc::new(SystemClock), &SystemEntropy).await?;
    cql.store().ensure_tables(&[TABLE]).await?;
    let measured = measure(cql.store(), &address, &keyspace).await;
    cql.drop_keyspace().await?;
    measured
}

async fn measure(store: Arc<dyn Store>, address: &str, keyspace: &str) -> Result<()> {
    let bare = Arc::new(Bare::prepare(address, keyspace).await?);
    println!("{:>9} {:>8} {:>9} {:>9} {:>9} {:>7}", "in flight", "what", "p50 ms", "p99 ms", "pairs/s", "ratio");
    for (in_flight, calls) in [(1, 40), (64, 256)] {
        let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (port, driver);
            if round % 2 == 0 {
                port = through_the_port(store.clone(), round, calls, in_flight).await?;
                driver = through_the_driver(bare.clone(), round, calls, in_flight).await?;
            } else {
                driver = through_the_driver(bare.clone(), round, calls, in_flight).await?;
                port = through_the_port(store.clone(), round, calls, in_flight).await?;
            }
            // The first round warms both up.
            if round > 0 {
                ratios.push(driver.per_second() / port.per_second());
                ours.push(port);
                theirs.push(driver);
            }
        }
        row(in_flight, "driver", &theirs, None);
        row(in_flight, "port", &ours, Some(median(ratios.iter().copied())));
        ratios.sort_by(f64::total_cmp);
        let quarter = |at: usize| ratios.get(ratios.len() * at / 4).copied().unwrap_or(f64::NAN);
        println!(
            "{in_flight:>9} the middle half of the ratios: {:.3} to {:.3}; wanted: a median of at most {RATIO_MAX}",
            quarter(1),
            quarter(3)
        );
    }
    Ok(())
}

/// Medians over the rounds.
fn row(in_flight: usize, what: &str, rounds: &[Timed], ratio: Option<f64>) {
    let ratio = ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
    let of = |figure: fn(&Timed) -> f64| median(rounds.iter().map(figure));
    let (p50, p99) = (of(|timed| timed.percentile_ms(0.5)), of(|timed| timed.percentile_ms(0.99)));
    println!("{in_flight:>9} {what:>8} {p50:>9.2} {p99:>9.2} {:>9.0} {ratio:>7}", of(Timed::per_second));
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Each call is a pair: a row is inserted, then replaced.
async fn through_the_port(store: Arc<dyn Store>, round: usize, calls: usize, in_flight: usize) -> Result<Timed> {
    time(calls, in_flight, move |number| {
        let store = store.clone();
        async move {
            let key = RowKey::single(format!("port-{in_flight}-{round}-{number}"));
            let value = Bytes::from_static(VALUE);
            let inserted = store.insert_new(TABLE, &key, value.clone(), None).await?;
            anyhow::ensure!(inserted == Cas::Applied(Version(1)), "not inserted");
            let replaced = store.replace(TABLE, &key, Version(1), value, None).await?;
            anyhow::ensure!(replaced == Cas::Applied(Version(2)), "not replaced");
            Ok(())
        }
    })
    .await
}

async fn through_the_driver(bare: Arc<Bare>, round: usize, calls: usize, in_flight: usize) -> Result<Timed> {
    time(calls, in_flight, move |number| {
        let bare = bare.clone();
        async move {
            let key = format!("bare-{in_flight}-{round}-{number}");
            anyhow::ensure!(bare.applied(&bare.insert, (&key, "", 1_i64, VALUE)).await?, "not inserted");
            anyhow::ensure!(bare.applied(&bare.replace, (2_i64, VALUE, &key, "", 1_i64)).await?, "not replaced");
            Ok(())
        }
    })
    .await
}

/// The driver as its own documentation uses it: its defaults, `IF NOT EXISTS`, one condition.
struct Bare {
    session: Session,
    insert: PreparedStatement,
    replace: PreparedStatement,
}

impl Bare {
    async fn prepare(address: &str, keyspace: &str) -> Result<Self> {
        let session = SessionBuilder::new().known_node(address).build().await?;
        let table = format!("{keyspace}.{}", TABLE.name);
        let insert = session
            .prepare(format!(
                "INSERT INTO {table} (partition, clustering, version, cell) VALUES (?, ?, ?, ?) IF NOT EXISTS"
            ))
            .await?;
        let replace = session
            .prepare(format!(
                "UPDATE {table} SET version = ?, cell = ? WHERE partition = ? AND clustering = ? IF version = ?"
            ))
            .await?;
        Ok(Self { session, insert, replace })
    }

    async fn applied(
        &self,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<bool> {
        let rows = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        Ok(rows.single_row::<(bool,)>()?.0)
    }
}
