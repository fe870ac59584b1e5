//! Why the runtime gives up.

use ridgeline_ports::LogError;

/// Why a worker stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The group could not be joined.
    #[error("worker {role} cannot subscribe to its topic")]
    Subscribe {
        /// The role.
        role: &'static str,
        /// What the log said.
        source: LogError,
    },
    /// The subscription failed or ended on the log's side.
    #[error("worker {role} lost its subscription")]
    Subscription {
        /// The role.
        role: &'static str,
        /// What the log said.
        source: LogError,
    },
    /// A commit failed in a way that no later one can mend.
    #[error("worker {role} cannot commit")]
    Commit {
        /// The role.
        role: &'static str,
        /// What the log said.
        source: LogError,
    },
    /// A step said that the process must stop.
    #[error("a step of worker {role} cannot go on: {reason}")]
    Step {
        /// The role.
        role: &'static str,
        /// What the step said.
        reason: String,
    },
}

impl RuntimeError {
    /// Always fatal: everything else is dealt with inside the loop.
    #[must_use]
    pub const fn disposition(&self) -> ridgeline_ports::Disposition {
        match self {
            Self::Subscribe { .. } | Self::Subscription { .. } | Self::Commit { .. } | Self::Step { .. } => {
                ridgeline_ports::Disposition::Fatal
            }
        }
    }
}
