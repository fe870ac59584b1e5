//! The story that `demo` tells: which requests, what each should end in, and what came of it.
//!
//! Fingers are enrolled from their first two impressions, all but the last. Every further impression is verified against
//! its own subject and three fixed others, and searched among all. The last finger is searched without being enrolled;
//! an image that shows no finger is searched; an enrolled template is handed back as a probe.

mod cast;
mod phones;
mod plan;
mod report;
mod tell;

pub(crate) use cast::{Cast, Finger, write_examples};
pub(crate) use phones::{PhoneReport, Stage, tell_phones};
pub(crate) use plan::{Ended, Step, plan};
pub(crate) use report::Report;
pub(crate) use tell::tell;
