//! Bringing a keyspace to the shape that this binary expects: `ridgeline migrate`.

mod lock;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use ridgeline_ports::Entropy;
use scylla::client::session::Session;

use crate::cql::rows;
use crate::schema::{self, Shape};
use crate::{CqlConfig, CqlError, connect, cql};

pub use text::{ALL, Migration};

use lock::Lock;

/// A keyspace that was made can be used by then, or not at all.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);
const VISIBLE_CHECK: Duration = Duration::from_millis(200);

/// How long to wait for another process that migrates: longer than the lease of one that died.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is being done, or would be; `Display` gives a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The keyspace is made.
    Keyspace {
        /// The statement.
        statement: String,
    },
    /// Another process holds the lock.
    Waiting {
        /// Whose it is.
        owner: String,
    },
    /// A file was applied before.
    Applied {
        /// Its name.
        file: String,
    },
    /// A statement is applied.
    Statement {
        /// The file it is in.
        file: String,
        /// Its place in the file, from 1.
        number: usize,
        /// How many the file has.
        of: usize,
        /// Its text.
        statement: String,
    },
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keyspace { statement } => write!(f, "keyspace: {statement}"),
            Self::Waiting { owner } => write!(f, "waiting for {owner}, which migrates"),
            Self::Applied { file } => write!(f, "{file}: applied before"),
            Self::Statement { file, number, of, statement } => {
                let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
                write!(f, "{file} {number}/{of}: {line}")
            }
        }
    }
}

/// How a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Statements applied, or that would be.
    pub statements: usize,
    /// Files that needed nothing.
    pub files_applied_before: usize,
}

/// Applies what the keyspace lacks of `migrations` (usually [`ALL`]), in order, under a lock, and makes the keyspace if it is missing.
/// `dry_run` changes nothing and takes no lock. May be run again after any failure and at any time.
///
/// # Errors
/// [`CqlError::Changed`] and [`CqlError::Newer`] before anything is done; [`CqlError::Locked`] after two minutes of waiting.
pub async fn migrate(
    config: &CqlConfig,
    entropy: &dyn Entropy,
    migrations: &[Migration],
    dry_run: bool,
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Summary, CqlError> {
    config.check()?;
    let session = connect::session(config).await?;
    let there = cql::keyspace_exists(&session, &config.keyspace).await?;
    if !there {
        let statement = cql::keyspace_statement(&session, config).await?;
        progress(Step::Keyspace { statement: statement.clone() });
        if !dry_run {
            schema::change(&session, "making the keyspace", &statement).await?;
        }
    }
    if dry_run {
        let done = if there { Done::read(&session, config).await? } else { Done::default() };
        return walk(&done, migrations, progress);
    }
    enter(&session, config).await?;
    make_bookkeeping(&session, config).await?;
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let owner = format!("process {} ({:016x})", std::process::id(), u64::from_be_bytes(random));
    let lock =
        Lock::take(&session, &owner, PATIENCE, &mut |owner| progress(Step::Waiting { owner: owner.into() })).await?;
    let ended = lock.hold(apply(&session, config, migrations, progress)).await;
    lock.release().await;
    ended
}

/// Uses the keyspace, which is there or was just made: of two that make it at once one may be told so a moment before it can be used.
async fn enter(session: &Session, config: &CqlConfig) -> Result<(), CqlError> {
    let deadline = tokio::time::Instant::now() + VISIBLE_WITHIN;
    loop {
        match session.use_keyspace(&config.keyspace, false).await {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                return Err(CqlError::Statement { what: "using the keyspace", reason: error.to_string() });
            }
            Err(_) => tokio::time::sleep(VISIBLE_CHECK).await,
        }
    }
}

/// The lock's own table cannot be made under the lock. Only a keyspace without it is touched.
async fn make_bookkeeping(session: &Session, config: &CqlConfig) -> Result<(), CqlError> {
    if Done::is_kept(session, config).await? {
        return Ok(());
    }
    for statement in ALL.iter().take(1).flat_map(Migration::statements) {
        schema::change(session, "making the tables of migrations", &statement).await?;
    }
    Ok(())
}

async fn apply(
    session: &Session,
    config: &CqlConfig,
    migrations: &[Migration],
    progress: &mut (dyn FnMut(Step) + Send),
) -> Result<Summary, CqlError> {
    let done = Done::read(session, config).await?;
    let mut steps = Vec::new();
    let summary = walk(&done, migrations, &mut |step| steps.push(step))?;
    for step in steps {
        progress(step.clone());
        if let Step::Statement { file, number, statement, .. } = step {
            schema::change(session, "applying a migration", &statement).await?;
            let migration = migrations.iter().find(|migration| migration.file == file);
            let checksum = migration.map(Migration::checksum).unwrap_or_default();
            note(session, &file, &checksum, number).await?;
        }
    }
    Ok(summary)
}

/// Notes that the first `number` statements are done. Only the holder of the lock gets here, so anything else in the row means that
/// the lock went to another.
async fn note(session: &Session, file: &str, checksum: &str, number: usize) -> Result<(), CqlError> {
    let what = "noting a migration";
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    let before = (number > 1).then_some(number - 1);
    let statement = "UPDATE migrations SET checksum = ?, done = ? WHERE file = ? IF done = ?".to_owned();
    if lock::decide(session, what, statement, (checksum, number, file, before)).await? {
        return Ok(());
    }
    // A lost answer, unless another has written.
    let noted = Done::rows(session).await?;
    if noted.0.get(file).is_some_and(|(text, done)| text == checksum && *done == number) {
        return Ok(());
    }
    Err(CqlError::LockLost)
}

/// What is applied: checksum and number of statements, by file.
#[derive(Default)]
struct Done(BTreeMap<String, (String, i32)>);

impl Done {
    async fn is_kept(session: &Session, config: &CqlConfig) -> Result<bool, CqlError> {
        for table in ["migrations", "migration_lock"] {
            let shape = schema::shape(session, &config.keyspace, table).await;
            if shape.map_err(|_| CqlError::Answer("the tables of migrations"))? == Shape::Missing {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read(session: &Session, config: &CqlConfig) -> Result<Self, CqlError> {
        if !Self::is_kept(session, config).await? {
            return Ok(Self::default());
        }
        let used = session.use_keyspace(&config.keyspace, false).await;
        used.map_err(|error| CqlError::Statement { what: "using the keyspace", reason: error.to_string() })?;
        Self::rows(session).await
    }

    async fn rows(session: &Session) -> Result<Self, CqlError> {
        let what = "reading the migrations applied";
        let found: Vec<(String, Option<String>, Option<i32>)> =
            rows(session, what, "SELECT file, checksum, done FROM migrations").await?;
        let complete = |(file, checksum, done): (String, Option<String>, Option<i32>)| Some((file, (checksum?, done?)));
        Ok(Self(found.into_iter().filter_map(complete).collect()))
    }
}

/// Tells `progress` what remains to be done, in order; a file that was changed or is not known stops it before anything is told.
fn walk(done: &Done, migrations: &[Migration], progress: &mut (dyn FnMut(Step) + Send)) -> Result<Summary, CqlError> {
    for (file, (checksum, _)) in &done.0 {
        match migrations.iter().find(|migration| migration.file == *file) {
            None => return Err(CqlError::Newer { file: file.clone() }),
            Some(migration) if migration.checksum() != *checksum => {
                return Err(CqlError::Changed { file: file.clone() });
            }
            Some(_) => {}
        }
    }
    let mut summary = Summary { statements: 0, files_applied_before: 0 };
    for migration in migrations {
        let file = migration.file.to_string();
        let statements = migration.statements();
        let of = statements.len();
        let before = done.0.get(&file).map_or(0, |(_, done)| usize::try_from(*done).unwrap_or(0));
        if before >= of {
            summary.files_applied_before += 1;
            progress(Step::Applied { file });
            continue;
        }
        for (index, statement) in statements.into_iter().enumerate().skip(before) {
            summary.statements += 1;
            progress(Step::Statement { file: file.clone(), number: index + 1, of, statement });
        }
    }
    Ok(summary)
}
