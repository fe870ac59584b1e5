//! The capture agent: from a reader to the event log without losing a sample.
//!
//! ```text
//! Reader ─► decode, check, seal, sign ─► spool (disk) ─► Publisher ─► acknowledged ─► forgotten
//! ```
//!
//! A sample counts as taken once it is in the spool, encrypted and synced. Records leave the spool in order, one at a time,
//! and only after the log has acknowledged them, so a crash can repeat a record and cannot lose one; the pipeline answers
//! a repeated record once. While the log is away the spool fills; once it is full, readers are not asked for more.
//! Records whose validity has passed are sent all the same: the pipeline answers `expired`, and somebody asked.

mod agent;
mod error;
mod folder;
mod publisher;
mod reader;
mod simulated;
mod spool;

pub use agent::{Agent, AgentParts};
pub use error::AgentError;
pub use folder::{FolderOptions, FolderReader};
pub use publisher::{HttpPublisher, LogPublisher, PublishError, Publisher};
pub use reader::{Capture, Reader, Settled};
pub use simulated::{SimulatedReader, Touch};
pub use spool::{Sequence, Spool, SpoolLimits};
