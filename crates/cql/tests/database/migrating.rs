//! `migrate`: twice, at once, after a crash, over a changed file, dry, and past a lock that nobody renews.

use ridgeline_cql::migration::{ALL, Migration, Step, Summary, migrate};
use ridgeline_cql::{CqlConfig, CqlError};

use crate::bare;
use crate::support::{self, OsEntropy};

const TWO: &str =
    "CREATE TABLE IF NOT EXISTS more_a (id int PRIMARY KEY);\nCREATE TABLE IF NOT EXISTS more_b (id int PRIMARY KEY);";

fn config(address: &str) -> CqlConfig {
    let mut config = support::config(address);
    config.create_keyspace = false;
    config.create_tables = false;
    config
}

fn and(text: &'static str) -> Vec<Migration> {
    let more = Migration { file: "9999_more.cql".into(), text: text.into() };
    ALL.iter().cloned().chain([more]).collect()
}

async fn run(config: &CqlConfig, migrations: &[Migration], dry: bool) -> (Result<Summary, CqlError>, Vec<Step>) {
    let mut steps = Vec::new();
    let ended = migrate(config, &OsEntropy, migrations, dry, &mut |step| steps.push(step)).await;
    (ended, steps)
}

fn statements(migrations: &[Migration]) -> usize {
    migrations.iter().map(|migration| migration.statements().len()).sum()
}

async fn drop_keyspace(address: &str, config: &CqlConfig) {
    let statement = format!("DROP KEYSPACE IF EXISTS {}", config.keyspace);
    bare(address).await.query_unpaged(statement, ()).await.expect("dropped");
}

async fn tables(address: &str, keyspace: &str) -> usize {
    let statement = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let result = bare(address).await.query_unpaged(statement, (keyspace,)).await.expect("an answer");
    result.into_rows_result().expect("rows").rows_num()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_does_nothing_and_a_dry_one_changes_nothing() {
    let Some(address) = support::address() else { return };
    ridgeline_testkit::covers!("R-187");
    let config = config(&address);
    let (ended, planned) = run(&config, ALL, true).await;
    assert_eq!(ended.expect("a plan"), Summary { statements: statements(ALL), files_applied_before: 0 });
    assert_eq!(tables(&address, &config.keyspace).await, 0);
    let error = support::connect(self::config(&address)).await.map(|_| ()).expect_err("no keyspace");
    assert!(matches!(error, CqlError::NoKeyspace(_)), "{error:?}");
    let (ended, done) = run(&config, ALL, false).await;
    assert_eq!(ended.expect("migrated").statements, statements(ALL));
    assert_eq!(done, planned);
    let made = tables(&address, &config.keyspace).await;
    assert_eq!(made, statements(ALL));
    for dry in [true, false] {
        let (ended, steps) = run(&config, ALL, dry).await;
        assert_eq!(ended.expect("nothing to do"), Summary { statements: 0, files_applied_before: ALL.len() });
        assert!(steps.iter().all(|step| matches!(step, Step::Applied { .. })), "{steps:?}");
    }
    let (ended, _) = run(&config, &and(TWO), true).await;
    assert_eq!(ended.expect("a plan").statements, 2);
    assert_eq!(tables(&address, &config.keyspace).await, made);
    drop_keyspace(&address, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_does_the_work() {
    let Some(address) = support::address() else { return };
    let config = config(&address);
    // Both may make the keyspace and the tables of the lock; everything else happens under the lock.
    let ((one, _), (other, _)) = tokio::join!(run(&config, ALL, false), run(&config, ALL, false));
    let mut done = [one.expect("migrated").statements, other.expect("migrated").statements];
    done.sort_unstable();
    assert_eq!(done, [0, statements(ALL)]);
    drop_keyspace(&address, &config).await;
}

/// The process ended after the first statement was noted, or after it was applied and before it was noted.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_applied_in_part_is_continued() {
    let Some(address) = support::address() else { return };
    let config = config(&address);
    run(&config, ALL, false).await.0.expect("migrated");
    let session = bare(&address).await;
    let more = and(TWO);
    let last = more.last().expect("a migration");
    let made = format!("CREATE TABLE {}.more_a (id int PRIMARY KEY)", config.keyspace);
    session.query_unpaged(made, ()).await.expect("made");
    let (ended, _) = run(&config, &more, true).await;
    assert_eq!(ended.expect("a plan").statements, 2);
    let noted =
        format!("UPDATE {}.migrations SET checksum = ?, done = 1 WHERE file = ? IF done = null", config.keyspace);
    session.query_unpaged(noted, (last.checksum(), &last.file[..])).await.expect("noted");
    let (ended, steps) = run(&config, &more, false).await;
    assert_eq!(ended.expect("migrated").statements, 1);
    assert!(
        steps.iter().any(
            |step| matches!(step, Step::Statement { number: 2, of: 2, statement, .. } if statement.contains("more_b"))
        ),
        "{steps:?}"
    );
    assert_eq!(tables(&address, &config.keyspace).await, statements(&more));
    assert_eq!(run(&config, &more, false).await.0.expect("nothing to do").statements, 0);
    drop_keyspace(&address, &config).await;
}

/// A statement that fails leaves what was done noted and the lock free.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_stops_there() {
    let Some(address) = support::address() else { return };
    let config = config(&address);
    let broken = and("CREATE TABLE IF NOT EXISTS more_a (id int PRIMARY KEY); CREATE TABLE broken;");
    let (ended, _) = run(&config, &broken, false).await;
    assert!(matches!(ended, Err(CqlError::Statement { .. })), "{ended:?}");
    let (ended, steps) = run(&config, &broken, true).await;
    assert_eq!(ended.expect("a plan").statements, 1, "{steps:?}");
    let (ended, steps) = run(&config, &broken, false).await;
    assert!(matches!(ended, Err(CqlError::Statement { .. })), "{ended:?}");
    assert!(!steps.iter().any(|step| matches!(step, Step::Waiting { .. })), "{steps:?}");
    drop_keyspace(&address, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_and_unknown_files_stop_it_before_anything_is_done() {
    let Some(address) = support::address() else { return };
    let config = config(&address);
    run(&config, &and(TWO), false).await.0.expect("migrated");
    let mut changed = and("CREATE TABLE IF NOT EXISTS more_a (id bigint PRIMARY KEY);");
    changed.push(Migration {
        file: "9999_next.cql".into(),
        text: "CREATE TABLE IF NOT EXISTS next (id int PRIMARY KEY)".into(),
    });
    for dry in [true, false] {
        let (ended, steps) = run(&config, &changed, dry).await;
        assert!(matches!(&ended, Err(CqlError::Changed { file }) if file == "9999_more.cql"), "{ended:?}");
        let (older, _) = run(&config, ALL, dry).await;
        assert!(matches!(&older, Err(CqlError::Newer { file }) if file == "9999_more.cql"), "{older:?}");
        assert!(steps.is_empty(), "{steps:?}");
    }
    assert_eq!(tables(&address, &config.keyspace).await, statements(&and(TWO)));
    drop_keyspace(&address, &config).await;
}

/// Its owner died: the database forgets the lock and the next one takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_nobody_renews_is_taken_over() {
    let Some(address) = support::address() else { return };
    let config = config(&address);
    run(&config, ALL, false).await.0.expect("migrated");
    let session = bare(&address).await;
    let lock = format!(
        "UPDATE {}.migration_lock USING TTL 3 SET owner = 'gone' WHERE name = 'migrate' IF owner = null",
        config.keyspace
    );
    session.query_unpaged(lock, ()).await.expect("locked");
    let (ended, steps) = run(&config, &and(TWO), false).await;
    assert_eq!(ended.expect("migrated").statements, 2);
    assert!(steps.contains(&Step::Waiting { owner: "gone".into() }), "{steps:?}");
    drop_keyspace(&address, &config).await;
}
