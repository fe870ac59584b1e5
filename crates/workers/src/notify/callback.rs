//! The call that tells an initiating client that its action is decided: a signed Security Event Token (RFC 8417), pushed (RFC 8935).

use ridgeline_domain::{DeliveryStatus, DurationMs, Timestamp};
use ridgeline_egress::{CallbackUrl, EgressError};
use ridgeline_runtime::{StepError, metric};

use super::{Notify, Told};

/// Calls of one callback at most.
const ATTEMPTS_MAX: i32 = 3;
const MEDIA_TYPE: &str = "application/secevent+jwt";

impl Notify {
    /// Calls once; when it is tried again.
    pub(super) async fn call_back(&self, told: &Told) -> Result<Option<Timestamp>, StepError> {
        let notice = &told.notice;
        let mut delivery = self.delivery(notice, None).await?;
        if delivery.row.status != DeliveryStatus::Pending {
            self.account(told, &delivery.row).await?;
            return Ok(None);
        }
        let now = self.now(notice);
        delivery.row.attempts = delivery.row.attempts.saturating_add(1);
        let again: Option<Timestamp> = match self.called(told, now).await? {
            Ok(()) => {
                delivery.row.status = DeliveryStatus::Delivered;
                (delivery.row.sent_at, delivery.row.delivered_at) = (Some(now), Some(now));
                delivery.row.error = None;
                None
            }
            Err((why, may_work_later)) => {
                delivery.row.error = Some(why);
                let pause = DurationMs(
                    self.parts.callback_pause.0
                        * 6_i64.pow(u32::try_from(delivery.row.attempts - 1).unwrap_or(0).min(3)),
                );
                let is_in_time = now.plus(pause) < notice.expires_at;
                let goes_on = may_work_later && delivery.row.attempts < ATTEMPTS_MAX && is_in_time;
                if !goes_on {
                    delivery.row.status = DeliveryStatus::Failed;
                }
                goes_on.then(|| told.partition_time().plus(pause))
            }
        };
        self.note(&mut delivery, now).await?;
        if again.is_none() {
            let status = delivery.row.status.as_str();
            metrics::counter!(metric::NOTIFICATIONS, "kind" => "callback", "status" => status).increment(1);
            self.account(told, &delivery.row).await?;
        }
        Ok(again)
    }

    /// `Err`: why not, and whether another call may do better.
    async fn called(&self, told: &Told, now: Timestamp) -> Result<Result<(), (String, bool)>, StepError> {
        let refused = |why: &str| Ok(Err((why.to_owned(), false)));
        let action = self.action(&told.notice).await?;
        let (Some(action), Some(statement)) = (action, &told.notice.statement) else {
            return refused("there is nothing to tell");
        };
        let Some(sealed) = &action.callback_url else { return refused("there is nobody to tell") };
        if now >= told.notice.expires_at {
            return refused("its time was over");
        }
        let url = self.opened(&told.notice, "callback_url", sealed)?;
        // Written when it was known to be one.
        let Ok(url) = CallbackUrl::parse_private(&url) else { return refused("the address is no callback URL") };
        match self.parts.callbacks.post(&url, &[], (MEDIA_TYPE, statement.clone().into_bytes())).await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(Ok(())),
            Ok(answer) => {
                let may_work_later = matches!(answer.status, 408 | 425 | 429) || answer.status >= 500;
                Ok(Err((format!("the address answered {}", answer.status), may_work_later)))
            }
            // Where it leads stands in no public record.
            Err(EgressError::Unreachable { .. }) => Ok(Err(("the address cannot be reached".to_owned(), true))),
            Err(EgressError::ForbiddenAddress { .. }) => refused("the address must not be called"),
            Err(_) => refused("the address cannot be called"),
        }
    }
}
