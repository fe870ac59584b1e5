//! The port to capture devices.

use async_trait::async_trait;
use ridgeline_domain::{Operation, Position, ReaderId, RequestId, SubjectId, Timestamp};
use ridgeline_intake::RawSample;

/// What a reader has taken.
#[derive(Debug)]
pub struct Capture {
    /// Confirmation id. A reader that finds a capture again after a restart gives it the same id, so that the pipeline
    /// answers it once.
    pub request_id: RequestId,
    /// What is asked.
    pub operation: Operation,
    /// Whom it is about; for enrol and verify.
    pub subject: Option<SubjectId>,
    /// Which finger.
    pub position: Position,
    /// When the finger was there.
    pub captured_at: Timestamp,
    /// 1–10 samples.
    pub samples: Vec<RawSample>,
}

/// What became of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is in the spool; the reader may forget it.
    Spooled,
    /// It cannot be sent; the text says why, in words for the person at the reader.
    Refused(String),
}

/// A capture device. Asked for one capture at a time, and only while the spool has room.
#[async_trait]
pub trait Reader: Send {
    /// Its name in records, decisions and health.
    fn id(&self) -> &ReaderId;

    /// The next capture; `None` when there will be no more. May be dropped while waiting when the agent stops.
    async fn next(&mut self) -> Option<Capture>;

    /// Tells what became of the capture that `next` returned last.
    async fn settle(&mut self, request_id: RequestId, settled: Settled);
}
