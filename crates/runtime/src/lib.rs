//! What runs the workers: the one worker loop, the correlator of requests with their answers, the CPU pool, the table of
//! metric names, the health registry, and the system's clock and randomness.
//!
//! Knows the ports, never an adapter, a schema or a topic by name.

pub mod correlator;
pub mod cpu;
mod error;
mod fail;
mod follow;
mod handler;
pub mod health;
mod limits;
mod log_time;
pub mod metric;
mod system;
pub mod window;
mod worker;

pub use correlator::{Correlator, Full, Waiter, Woken};
pub use cpu::{CpuError, CpuPool};
pub use error::RuntimeError;
pub use fail::{FailPoint, FailPoints};
pub use follow::Following;
pub use handler::{DeadLetters, Ending, Handler, HoldKey, Poison, StepError};
pub use health::{Component, Health, HealthHandle, HealthState};
pub use limits::{FuseLimits, Limits, WorkerSpec};
pub use log_time::{LogClock, LogTime};
pub use system::{SystemClock, SystemEntropy};
pub use worker::{Ports, run};
