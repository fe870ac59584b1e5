//! What a scan is bound to.

use crate::{AgentId, Operation, RequestId, SubjectId, Timestamp};

/// The request that a sample belongs to. All of it is authenticated with the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanBinding {
    /// The request.
    pub request_id: RequestId,
    /// Who sealed the sample.
    pub agent: AgentId,
    /// What is asked for.
    pub operation: Operation,
    /// About whom, where the operation names somebody.
    pub subject: Option<SubjectId>,
    /// When the sample was taken.
    pub captured_at: Timestamp,
    /// Until when the request may be decided.
    pub valid_until: Timestamp,
}
