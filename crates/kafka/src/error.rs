//! Why a client could not be made, and how what Kafka says appears at the port.

use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use ridgeline_ports::{LogError, TopicName};

use crate::status::Status;

/// Why the connection to Kafka could not be set up or administered.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A setting that the client library refuses. The value is not told: it may be a secret.
    #[error("setting {name} is refused: {why}")]
    Setting {
        /// Name of the setting.
        name: String,
        /// What the library says.
        why: String,
    },
    /// A client could not be made, for instance because a certificate cannot be read.
    #[error("cannot make a client: {0}")]
    Client(String),
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A call on the log failed.
    #[error("cannot {what}")]
    Log {
        /// What was tried.
        what: &'static str,
        /// What the log said.
        source: LogError,
    },
}

impl From<Cause> for KafkaError {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::ClientConfig(_, why, name, _) => Self::Setting { name, why },
            other => Self::Client(other.to_string()),
        }
    }
}

impl From<KafkaError> for LogError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::Log { source, .. } => source,
            other => Self::Unavailable(chain(&other)),
        }
    }
}

fn chain(error: &KafkaError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What a failed call on a topic means to its caller.
pub(crate) fn at_topic(topic: &TopicName, what: &str, cause: &Cause, status: &Status) -> LogError {
    match code_of(cause) {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownTopicId) => {
            LogError::UnknownTopic(topic.clone())
        }
        Some(Code::Fatal) => LogError::Broken(status.fault().unwrap_or_else(|| cause.to_string())),
        _ => unavailable(what, cause, status),
    }
}

pub(crate) fn unavailable(what: &str, cause: &Cause, status: &Status) -> LogError {
    LogError::Unavailable(status.with_reason(format!("{what}: {}", text_of(cause))))
}

/// Kafka's words for the cause, without the library's wrapping.
pub(crate) fn text_of(cause: &Cause) -> String {
    code_of(cause).map_or_else(|| cause.to_string(), |code| code.to_string())
}

pub(crate) fn code_of(cause: &Cause) -> Option<Code> {
    cause.rdkafka_error_code()
}
