//! Where spooled records go.

use std::sync::Arc;

use async_trait::async_trait;
use ridgeline_client::{Client, ClientError};
use ridgeline_ports::{Disposition, EventLog, NewRecord, TraceContext};

/// Why a record was not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// The log is away or busy; the same record may pass later.
    Later(String),
    /// This record will never pass. The text names no content.
    Never(String),
}

/// Takes records and returns once they are durable. A record may come more than once.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes one record.
    ///
    /// # Errors
    /// [`PublishError`]; after `Later` it is unknown whether the record was published.
    async fn publish(&self, record: NewRecord) -> Result<(), PublishError>;
}

/// Appends to a log of this process.
#[derive(Clone)]
pub struct LogPublisher(pub Arc<dyn EventLog>);

#[async_trait]
impl Publisher for LogPublisher {
    async fn publish(&self, record: NewRecord) -> Result<(), PublishError> {
        self.0.publish(record).await.map(drop).map_err(|error| match error.disposition() {
            Disposition::Poison => PublishError::Never(error.to_string()),
            Disposition::Retry | Disposition::Fatal => PublishError::Later(error.to_string()),
        })
    }
}

/// Hands records to a service over HTTP.
#[derive(Debug, Clone)]
pub struct HttpPublisher(pub Client);

#[async_trait]
impl Publisher for HttpPublisher {
    async fn publish(&self, record: NewRecord) -> Result<(), PublishError> {
        let trace =
            record.headers.iter().find(|(name, _)| name == TraceContext::HEADER).map(|(_, value)| value.clone());
        let value = record.value.unwrap_or_default().to_vec();
        self.0.upload_record(value, trace.as_deref()).await.map_err(|error| match &error {
            // 422 is the service's word about the record's content and 413 about its size; anything else, an unknown
            // agent included, is put right by operators while the record waits.
            ClientError::Refused(problem)
                if matches!(problem.status, 413 | 422) && !problem.code.is_empty() && problem.code != AGENT_UNKNOWN =>
            {
                PublishError::Never(error.to_string())
            }
            _ => PublishError::Later(chain(&error)),
        })
    }
}

/// The agent is not registered (yet).
const AGENT_UNKNOWN: &str = ridgeline_domain::ErrorCode::AgentUnknown.as_str();

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
