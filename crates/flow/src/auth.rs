//! Device authentication: who may register what, whether a challenge is answered, which refresh token lives, who approves an action.
//!
//! Each function is given what was gathered under a version and says what may be written under that version; a lost race gathers
//! again. A repeated request (its record was delivered twice) finds its own mark and is answered as the first time.

mod action;
mod approval;
mod challenge;
mod devices;
mod rotation;

pub use action::{Action, Approval, PENDING_MAX, Vote, WRONG_CODES_MAX};
pub use approval::{
    APPROVERS_MAX, ApprovalPolicy, ApprovalRule, Approver, Asked, REQUIRED_MAX, STEPS_MAX, Step, StepRule, Steps,
};
pub use challenge::{Consumption, Handed, consume};
pub use devices::{Admission, DEVICES_MAX, KnownDevice, Newcomer, admit, without};
pub use rotation::{Family, GRACE, Presented, Rotation, rotate};
