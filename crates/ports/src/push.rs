//! Notifications to devices.

use std::fmt;

use async_trait::async_trait;
use ridgeline_domain::{ActionId, DurationMs, Sensitive, Timestamp};

use crate::Disposition;

/// A notification to one device: that an action waits for its user.
#[derive(Clone)]
pub struct Push {
    /// Where the device is reached, as it said itself.
    pub token: Sensitive<String>,
    /// First line, for people.
    pub title: String,
    /// What stands below it.
    pub body: String,
    /// What waits.
    pub confirmation_id: ActionId,
    /// Its kind.
    pub action_type: String,
    /// Nothing waits any more from here on.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Push {
    /// Without the token, and without the texts, which repeat what the action is about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("confirmation_id", &self.confirmation_id)
            .field("action_type", &self.action_type)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The sender has taken the notification; whether it reaches the device is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushReceipt {
    /// How the sender calls it.
    pub message_id: String,
}

/// Why a notification was not taken. Holds neither the token nor the texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No device is reached by this token any more: it may be forgotten.
    #[error("the device is no longer registered for notifications")]
    Unregistered,
    /// This notification will never be taken.
    #[error("the notification is refused: {0}")]
    Refused(String),
    /// It may be taken later.
    #[error("the notification cannot be sent now: {what}")]
    Later {
        /// Not before, counted from the answer, if the sender said so.
        after: Option<DurationMs>,
        /// What is in the way.
        what: String,
    },
}

impl PushError {
    /// What a worker does about it.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            Self::Unregistered | Self::Refused(_) => Disposition::Poison,
            Self::Later { .. } => Disposition::Retry,
        }
    }
}

/// Takes notifications to devices.
#[async_trait]
pub trait PushSender: Send + Sync {
    /// Sends one notification once. A repetition may show it twice.
    ///
    /// # Errors
    /// See [`PushError`].
    async fn send(&self, push: &Push) -> Result<PushReceipt, PushError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_token_nor_texts() {
        let push = Push {
            token: Sensitive::new("secret-token".to_owned()),
            title: "secret-title".to_owned(),
            body: "secret-body".to_owned(),
            confirmation_id: ActionId::from_bytes([1; 16]),
            action_type: "payment_approval".to_owned(),
            expires_at: Timestamp::from_millis(5),
        };
        let shown = format!("{push:?}");
        assert!(shown.contains("payment_approval") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn only_what_may_be_taken_later_is_tried_again() {
        let later = PushError::Later { after: None, what: "busy".to_owned() };
        assert_eq!(later.disposition(), Disposition::Retry);
        assert_eq!(PushError::Unregistered.disposition(), Disposition::Poison);
        assert_eq!(PushError::Refused("no".to_owned()).disposition(), Disposition::Poison);
    }
}
