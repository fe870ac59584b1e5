//! Why something with the database failed. The database's own words are used only where no row is concerned, since they can
//! quote keys (P-1).

use ridgeline_ports::StoreError;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
    MetadataFetchErrorKind, NewSessionError, PrepareError, RequestAttemptError,
};

/// Why connecting, looking around or migrating failed.
#[derive(Debug, thiserror::Error)]
pub enum CqlError {
    /// The configuration contradicts itself or the cluster.
    #[error("database configuration: {0}")]
    Config(&'static str),
    /// The file of trusted authorities cannot be read or used.
    #[error("the file of trusted certificate authorities cannot be used: {0}")]
    Authorities(String),
    /// The database knows the user not, or not with this password, or asks for one and none is configured.
    #[error("the database refuses the credentials: {0}")]
    Credentials(&'static str),
    /// No contact point answers, or not with a certificate that is trusted.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// There is no such keyspace and none may be made.
    #[error("keyspace {0} does not exist: run `ridgeline migrate`")]
    NoKeyspace(String),
    /// A statement about the schema failed.
    #[error("{what} failed: {reason}")]
    Statement {
        /// What was being done.
        what: &'static str,
        /// The database's answer.
        reason: String,
    },
    /// The database answers what this crate does not understand.
    #[error("the database's answer about {0} cannot be read")]
    Answer(&'static str),
    /// A migration that was applied has another text now.
    #[error("migration {file} was applied with another text; put its file back and write a new migration")]
    Changed {
        /// Name of the migration's file.
        file: String,
    },
    /// The keyspace has migrations that this binary does not know.
    #[error("the keyspace has migration {file}, which this binary does not know: it is older than the keyspace")]
    Newer {
        /// Name of the migration's file.
        file: String,
    },
    /// Another process migrates and did not end in time.
    #[error("another process holds the migration lock: {owner}")]
    Locked {
        /// Whose lock it is.
        owner: String,
    },
    /// The lock went to another process while this one migrated.
    #[error("the migration lock was lost to another process; nothing more was done, run it again")]
    LockLost,
}

/// How a request ended that gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It never left this process.
    Unsent(&'static str),
    /// It may or may not have been carried out.
    Unknown(&'static str),
    /// The database will not do it, now or later.
    Refused(&'static str),
    /// The answer cannot be read.
    Garbled,
}

impl Failure {
    pub(crate) fn into_store_error(self, table: &'static str) -> StoreError {
        match self {
            Self::Unsent(what) | Self::Unknown(what) => StoreError::Unavailable(what.to_owned()),
            Self::Refused(what) => StoreError::Misuse { table, what },
            Self::Garbled => StoreError::Corrupt(format!("an answer about table {table} cannot be read")),
        }
    }

    /// A word for metrics.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Unsent(_) => "unsent",
            Self::Unknown(_) => "unknown",
            Self::Refused(_) => "refused",
            Self::Garbled => "garbled",
        }
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => Self::Unsent("no connection"),
            ExecutionError::BadQuery(_) => Self::Refused("the statement cannot be encoded"),
            ExecutionError::PrepareError(error) => error.into(),
            ExecutionError::LastAttemptError(error) => error.into(),
            ExecutionError::RequestTimeout(_) => Self::Unknown("no answer in time"),
            _ => Self::Unknown("the driver gave up"),
        }
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::AllAttemptsFailed { first_attempt } => first_attempt.into(),
            _ => Self::Unsent("the statement could not be prepared"),
        }
    }
}

impl From<RequestAttemptError> for Failure {
    fn from(error: RequestAttemptError) -> Self {
        match error {
            RequestAttemptError::DbError(error, _) => answered(&error),
            RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => {
                Self::Refused("the statement cannot be encoded")
            }
            RequestAttemptError::UnableToAllocStreamId => Self::Unsent("too many requests in flight"),
            RequestAttemptError::BrokenConnectionError(_) => Self::Unknown("the connection broke"),
            // Whatever else came back, the request was sent and may have been carried out.
            _ => Self::Unknown("the answer cannot be read"),
        }
    }
}

fn answered(error: &DbError) -> Failure {
    match error {
        DbError::Unavailable { .. } => Failure::Unknown("too few replicas are alive"),
        DbError::Overloaded => Failure::Unknown("the database is overloaded"),
        DbError::IsBootstrapping => Failure::Unknown("the node is starting"),
        DbError::ReadTimeout { .. } => Failure::Unknown("the replicas did not answer the read in time"),
        DbError::WriteTimeout { .. } => Failure::Unknown("the replicas did not answer the write in time"),
        DbError::ReadFailure { .. } => Failure::Unknown("a replica failed to read"),
        DbError::WriteFailure { .. } => Failure::Unknown("a replica failed to write"),
        DbError::SyntaxError | DbError::Invalid => Failure::Refused("the database does not accept the statement"),
        // An operator can grant it while the process waits.
        DbError::Unauthorized => Failure::Unknown("the database user may not do this"),
        _ => Failure::Unknown("the database reports an error"),
    }
}

impl From<NewSessionError> for CqlError {
    fn from(error: NewSessionError) -> Self {
        match &error {
            NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
                last_connection_error,
            })) => refused(last_connection_error),
            NewSessionError::MetadataError(MetadataError::FetchError(fetch)) => match &fetch.error {
                MetadataFetchErrorKind::PrepareError(RequestAttemptError::DbError(DbError::Unauthorized, _)) => {
                    Self::Credentials("the user may not read the schema")
                }
                _ => Self::Unreachable(error.to_string()),
            },
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

fn refused(error: &ConnectionError) -> CqlError {
    let ConnectionError::ConnectionSetupRequestError(setup) = error else {
        return CqlError::Unreachable(error.to_string());
    };
    match setup.get_error() {
        ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, _) => {
            CqlError::Credentials("user or password is wrong")
        }
        ConnectionSetupRequestErrorKind::MissingAuthentication => {
            CqlError::Credentials("it asks for user and password, and none are configured")
        }
        _ => CqlError::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_ports::Disposition;
    use scylla::errors::WriteType;
    use scylla::statement::Consistency;

    fn of(error: DbError) -> Failure {
        RequestAttemptError::DbError(error, "Key 'tell-nobody' is".into()).into()
    }

    /// P-1: the database's message may quote a key.
    #[test]
    fn the_databases_words_do_not_reach_a_store_error() {
        let timeout = DbError::WriteTimeout {
            consistency: Consistency::LocalQuorum,
            received: 1,
            required: 2,
            write_type: WriteType::Cas,
        };
        for error in [timeout, DbError::Invalid, DbError::ServerError, DbError::Unauthorized] {
            let error = of(error).into_store_error("answers");
            assert!(!format!("{error} {error:?}").contains("tell-nobody"), "{error}");
        }
    }

    #[test]
    fn only_what_can_never_succeed_stops_the_process() {
        for error in [DbError::Overloaded, DbError::IsBootstrapping, DbError::Unauthorized, DbError::ServerError] {
            assert_eq!(of(error).into_store_error("answers").disposition(), Disposition::Retry);
        }
        for error in [DbError::SyntaxError, DbError::Invalid] {
            assert_eq!(of(error).into_store_error("answers").disposition(), Disposition::Fatal);
        }
        assert!(matches!(Failure::from(ExecutionError::EmptyPlan), Failure::Unsent(_)));
    }
}
