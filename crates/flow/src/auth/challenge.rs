//! V-2: an expired or consumed challenge never yields anything.

use ridgeline_domain::{AuthOperation, Refusal, RequestId, Timestamp};

/// A challenge as it was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// What an answer leads to.
    pub purpose: AuthOperation,
    /// An answer must be appended before.
    pub expires_at: Timestamp,
    /// The request that answered it.
    pub consumed_by: Option<RequestId>,
}

/// What an answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumption {
    /// It is the first: the challenge is to be marked with this request, and nothing follows unless that mark is written.
    First,
    /// This request has answered it before: everything after the mark is performed again.
    Again,
}

/// Whether `request`, appended at `now`, answers the challenge. `proven`: its signature verifies under a key in question.
///
/// # Errors
/// Why not. A challenge that was handed out for something else counts as unknown.
pub fn consume(
    handed: Option<&Handed>,
    purpose: AuthOperation,
    request: RequestId,
    now: Timestamp,
    proven: bool,
) -> Result<Consumption, Refusal> {
    let handed = handed.filter(|handed| handed.purpose == purpose).ok_or(Refusal::UnknownSession)?;
    match handed.consumed_by {
        Some(consumer) if consumer == request => Ok(Consumption::Again),
        Some(_) => Err(Refusal::ChallengeUsed),
        None if handed.expires_at <= now => Err(Refusal::ChallengeExpired),
        None if !proven => Err(Refusal::BadSignature),
        None => Ok(Consumption::First),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const END: Timestamp = Timestamp::from_millis(1_000);

    fn request(number: u8) -> RequestId {
        RequestId::from_bytes([number; 16])
    }

    #[test]
    fn v2_the_answer_must_come_before_the_end_and_be_signed() {
        let handed = Handed { purpose: AuthOperation::Login, expires_at: END, consumed_by: None };
        let ask =
            |purpose, now, proven| consume(Some(&handed), purpose, request(1), Timestamp::from_millis(now), proven);
        assert_eq!(ask(AuthOperation::Login, 999, true), Ok(Consumption::First));
        assert_eq!(ask(AuthOperation::Login, 1_000, true), Err(Refusal::ChallengeExpired));
        assert_eq!(ask(AuthOperation::Login, 0, false), Err(Refusal::BadSignature));
        assert_eq!(ask(AuthOperation::Register, 0, true), Err(Refusal::UnknownSession));
        assert_eq!(consume(None, AuthOperation::Login, request(1), END, true), Err(Refusal::UnknownSession));
    }

    proptest! {
        /// V-2 on two workers: answers arrive in any order and any number of times; each worker reads the row, decides, and its
        /// mark is written only if the row is still the one it read.
        #[test]
        fn v2_a_challenge_is_answered_by_at_most_one_request(
            steps in proptest::collection::vec((0_u8..4, 0_i64..2_000, any::<bool>(), any::<bool>()), 1..40),
        ) {
            let mut row = Handed { purpose: AuthOperation::Login, expires_at: END, consumed_by: None };
            let mut yielded = std::collections::BTreeSet::new();
            let mut stale = row;
            for (number, at, proven, old_view) in steps {
                let seen = if old_view { stale } else { row };
                stale = row;
                let decided = consume(Some(&seen), AuthOperation::Login, request(number), Timestamp::from_millis(at), proven);
                match decided {
                    Ok(Consumption::First) => {
                        prop_assert!(proven && at < 1_000);
                        // The conditional write: only over the row that was read.
                        if seen == row {
                            row.consumed_by = Some(request(number));
                            yielded.insert(number);
                        }
                    }
                    Ok(Consumption::Again) => prop_assert!(yielded.contains(&number)),
                    Err(_) => {}
                }
            }
            prop_assert!(yielded.len() <= 1);
        }
    }
}
