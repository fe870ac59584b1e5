//! One migrates at a time. The lock is a row that the database itself forgets when its owner stops renewing it, so no clock is compared.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};

use crate::CqlError;
use crate::answer;
use crate::error::Failure;

/// After this without a renewal another process may take the lock.
const LEASE_SECS: i32 = 30;
/// Three renewals fit into a lease.
const RENEW_EVERY: Duration = Duration::from_secs(8);
/// How often a waiting process looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The lock, held until [`Lock::release`] or the end of its lease.
pub(super) struct Lock<'a> {
    session: &'a Session,
    owner: &'a str,
}

impl<'a> Lock<'a> {
    /// Takes the lock as soon as nobody has it. `waiting` hears whose it is.
    pub(super) async fn take(
        session: &'a Session,
        owner: &'a str,
        patience: Duration,
        waiting: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, CqlError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut told = false;
        loop {
            let statement = format!(
                "UPDATE migration_lock USING TTL {LEASE_SECS} SET owner = ? WHERE name = 'migrate' IF owner = null"
            );
            // A lost answer is settled by the next look: the owner that is read is then this one.
            let applied = decide(session, "taking the migration lock", statement, (owner,)).await?;
            let holder = if applied { Some(owner.to_owned()) } else { holder(session).await? };
            match holder {
                Some(holder) if holder == owner => return Ok(Self { session, owner }),
                Some(holder) if tokio::time::Instant::now() >= deadline => {
                    return Err(CqlError::Locked { owner: holder });
                }
                Some(holder) if !told => {
                    told = true;
                    waiting(&holder);
                }
                _ => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Does the work while renewing the lease; gives up as soon as the lock is another's.
    pub(super) async fn hold<T>(&self, work: impl Future<Output = Result<T, CqlError>>) -> Result<T, CqlError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(RENEW_EVERY) => self.renew().await?,
            }
        }
    }

    async fn renew(&self) -> Result<(), CqlError> {
        let statement =
            format!("UPDATE migration_lock USING TTL {LEASE_SECS} SET owner = ? WHERE name = 'migrate' IF owner = ?");
        let renewed = decide(self.session, "renewing the migration lock", statement, (self.owner, self.owner)).await?;
        if renewed || holder(self.session).await?.as_deref() == Some(self.owner) {
            return Ok(());
        }
        Err(CqlError::LockLost)
    }

    /// Gives the lock back. A failure does not matter: the lease ends by itself.
    pub(super) async fn release(self) {
        let statement = "DELETE FROM migration_lock WHERE name = 'migrate' IF owner = ?".to_owned();
        if let Err(error) = decide(self.session, "releasing the migration lock", statement, (self.owner,)).await {
            tracing::warn!(%error, "the migration lock stays until its lease ends");
        }
    }
}

async fn holder(session: &Session) -> Result<Option<String>, CqlError> {
    let what = "reading the migration lock";
    let mut statement = Statement::new("SELECT owner FROM migration_lock WHERE name = 'migrate'");
    statement.set_consistency(Consistency::LocalSerial);
    let result = session.query_unpaged(statement, ()).await.map_err(|error| failed(what, &error))?;
    let rows = result.into_rows_result().map_err(|_| CqlError::Answer(what))?;
    let row = rows.maybe_first_row::<(Option<String>,)>().map_err(|_| CqlError::Answer(what))?;
    Ok(row.and_then(|(owner,)| owner))
}

/// Sends a conditional statement once. `false` also stands for a lost answer: the caller reads what is there.
pub(super) async fn decide(
    session: &Session,
    what: &'static str,
    statement: String,
    values: impl SerializeRow,
) -> Result<bool, CqlError> {
    let mut statement = Statement::new(statement);
    statement.set_consistency(Consistency::LocalQuorum);
    statement.set_serial_consistency(Some(SerialConsistency::LocalSerial));
    match session.query_unpaged(statement, values).await {
        Ok(result) => answer::applied(result).map_err(|_| CqlError::Answer(what)),
        Err(error) => match Failure::from(error.clone()) {
            Failure::Unknown(_) => Ok(false),
            _ => Err(failed(what, &error)),
        },
    }
}

fn failed(what: &'static str, error: &scylla::errors::ExecutionError) -> CqlError {
    CqlError::Statement { what, reason: error.to_string() }
}
