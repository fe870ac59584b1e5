//! V-3: an action leaves pending once, and final states stay final.

use ridgeline_domain::{ActionStatus, Refusal, RequestId, Timestamp, UserId};

use super::approval::Steps;

/// Wrong display codes after which an action counts as rejected: somebody says yes to what he does not see.
pub const WRONG_CODES_MAX: usize = 3;

/// Actions of one user that may wait at the same time.
pub const PENDING_MAX: usize = 3;

/// An action as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// How far it is.
    pub status: ActionStatus,
    /// Whoever decides must be appended before.
    pub expires_at: Timestamp,
    /// Who must approve.
    pub steps: Steps,
    /// Who has, in order, and by which request.
    pub approvals: Vec<(UserId, RequestId)>,
    /// Requests that brought a wrong display code.
    pub wrong_codes: Vec<RequestId>,
    /// The request that made it final.
    pub finished_by: Option<RequestId>,
    /// When the initiating client's token is over.
    pub token_expires_at: Option<Timestamp>,
    /// The request that used the token up.
    pub redeemed_by: Option<RequestId>,
}

/// What a device brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote<'a> {
    /// Whose device it is.
    pub user: &'a UserId,
    /// Whether its signature over the action's challenge verifies.
    pub proven: bool,
    /// Whether the display code is right; `true` where none is asked for.
    pub code_is_right: bool,
}

/// What an approval does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// It counts; others must follow.
    Counts,
    /// It counts, and is the last one: the action is approved.
    Completes,
    /// The wrong code is noted.
    WrongCode,
    /// The wrong code is noted, and is the last one: the action is rejected.
    Ends,
    /// This request has done its part before: what follows from it is performed again.
    Again,
}

impl Action {
    /// A vote for the action by `request`, appended at `now`.
    ///
    /// # Errors
    /// Why not.
    pub fn approve(&self, vote: &Vote<'_>, request: RequestId, now: Timestamp) -> Result<Approval, Refusal> {
        let marks = self.approvals.iter().map(|(_, by)| by).chain(&self.wrong_codes);
        if marks.chain(&self.finished_by).any(|by| *by == request) {
            return Ok(Approval::Again);
        }
        if !self.steps.names(vote.user) {
            return Err(Refusal::NotAllowed);
        }
        self.open_at(now)?;
        if !vote.proven {
            return Err(Refusal::BadSignature);
        }
        let approved: Vec<&UserId> = self.approvals.iter().map(|(user, _)| user).collect();
        if !self.steps.wants(&approved, vote.user) {
            return Err(Refusal::NotAllowed);
        }
        if !vote.code_is_right {
            let is_last = self.wrong_codes.len() + 1 >= WRONG_CODES_MAX;
            return Ok(if is_last { Approval::Ends } else { Approval::WrongCode });
        }
        let with: Vec<&UserId> = approved.iter().copied().chain([vote.user]).collect();
        Ok(if self.steps.are_done(&with) { Approval::Completes } else { Approval::Counts })
    }

    /// A no by somebody who may say it. `true`: it ends the action now; `false`: this request has ended it before.
    ///
    /// # Errors
    /// [`Refusal::ActionFinal`].
    pub fn reject(&self, request: RequestId, now: Timestamp) -> Result<bool, Refusal> {
        if self.finished_by == Some(request) {
            return Ok(false);
        }
        self.open_at(now)?;
        Ok(true)
    }

    /// Whether the action's time is over at `now`, so that it must be said.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.status == ActionStatus::Pending && self.expires_at <= now
    }

    /// Whether `request` uses the token up, whose signature, client and nonce are right. `false`: it has before.
    ///
    /// # Errors
    /// [`Refusal::ActionFinal`] for the second one, [`Refusal::TokenExpired`], [`Refusal::BadCredential`] where there is none.
    pub fn redeem(&self, request: RequestId, now: Timestamp) -> Result<bool, Refusal> {
        match (self.status, self.redeemed_by, self.token_expires_at) {
            (_, Some(by), _) if by == request => Ok(false),
            (_, Some(_), _) => Err(Refusal::ActionFinal),
            (ActionStatus::Approved, None, Some(end)) if now < end => Ok(true),
            (ActionStatus::Approved, None, Some(_)) => Err(Refusal::TokenExpired),
            _ => Err(Refusal::BadCredential),
        }
    }

    fn open_at(&self, now: Timestamp) -> Result<(), Refusal> {
        let is_open = self.status == ActionStatus::Pending && now < self.expires_at;
        if is_open { Ok(()) } else { Err(Refusal::ActionFinal) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ridgeline_testkit::covers;

    use super::*;
    use crate::auth::approval::Step;

    const END: Timestamp = Timestamp::from_millis(1_000);
    const TOKEN_END: Timestamp = Timestamp::from_millis(2_000);

    fn request(number: u8) -> RequestId {
        RequestId::from_bytes([number; 16])
    }

    fn user(number: u8) -> UserId {
        UserId::new("https://rl.example", &format!("u{number}")).unwrap()
    }

    fn action(required: usize) -> Action {
        let approvers = (0..3).map(user).collect();
        Action {
            status: ActionStatus::Pending,
            expires_at: END,
            steps: Steps { in_order: false, steps: vec![Step { approvers, required }] },
            approvals: Vec::new(),
            wrong_codes: Vec::new(),
            finished_by: None,
            token_expires_at: None,
            redeemed_by: None,
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn v3_only_a_signed_vote_in_time_by_somebody_named_counts() {
        covers!("R-118");
        let (one, ann, stranger) = (action(1), user(0), user(9));
        let vote = |user, proven, code_is_right| Vote { user, proven, code_is_right };
        assert_eq!(one.approve(&vote(&ann, true, true), request(1), at(999)), Ok(Approval::Completes));
        assert_eq!(one.approve(&vote(&ann, true, true), request(1), at(1_000)), Err(Refusal::ActionFinal));
        assert_eq!(one.approve(&vote(&ann, false, true), request(1), at(0)), Err(Refusal::BadSignature));
        assert_eq!(one.approve(&vote(&stranger, true, true), request(1), at(0)), Err(Refusal::NotAllowed));
        assert_eq!(one.approve(&vote(&ann, true, false), request(1), at(0)), Ok(Approval::WrongCode));
        let guessed = Action { wrong_codes: vec![request(7), request(8)], ..action(1) };
        assert_eq!(guessed.approve(&vote(&ann, true, false), request(1), at(0)), Ok(Approval::Ends));
        assert_eq!(action(2).approve(&vote(&ann, true, true), request(1), at(0)), Ok(Approval::Counts));
    }

    #[derive(Debug, Clone, Copy)]
    enum Move {
        Approve { user: u8, proven: bool, code: bool },
        Reject,
        Expire,
        Redeem,
    }

    fn step() -> impl Strategy<Value = Move> {
        prop_oneof![
            4 => (0_u8..4, any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(user, proven, code)| Move::Approve { user, proven, code }),
            1 => Just(Move::Reject),
            1 => Just(Move::Expire),
            2 => Just(Move::Redeem),
        ]
    }

    /// What a worker does with what it was told, under the version it read.
    fn perform(seen: &Action, step: Move, request: RequestId, now: Timestamp) -> Option<Action> {
        let mut next = seen.clone();
        match step {
            Move::Approve { user: number, proven, code } => {
                let user = user(number);
                match seen.approve(&Vote { user: &user, proven, code_is_right: code }, request, now).ok()? {
                    Approval::Again => return None,
                    Approval::Counts => next.approvals.push((user, request)),
                    Approval::Completes => {
                        next.approvals.push((user, request));
                        (next.status, next.finished_by) = (ActionStatus::Approved, Some(request));
                        next.token_expires_at = Some(TOKEN_END);
                    }
                    Approval::WrongCode => next.wrong_codes.push(request),
                    Approval::Ends => {
                        next.wrong_codes.push(request);
                        (next.status, next.finished_by) = (ActionStatus::Rejected, Some(request));
                    }
                }
            }
            Move::Reject => {
                if !seen.reject(request, now).ok()? {
                    return None;
                }
                (next.status, next.finished_by) = (ActionStatus::Rejected, Some(request));
            }
            Move::Expire => {
                if !seen.is_overdue(now) {
                    return None;
                }
                (next.status, next.finished_by) = (ActionStatus::Expired, Some(request));
            }
            Move::Redeem => {
                if !seen.redeem(request, now).ok()? {
                    return None;
                }
                next.redeemed_by = Some(request);
            }
        }
        Some(next)
    }

    proptest! {
        /// V-3 and V-2 on two workers: votes, noes, timers and redemptions in any order, each any number of times, some of them by a
        /// worker that read the row a while ago; a write is carried out only over the row that was read.
        #[test]
        fn v3_an_action_leaves_pending_once_and_is_redeemed_once(
            required in 1_usize..3,
            steps in proptest::collection::vec((step(), 0_u8..12, 0_i64..2_500, any::<bool>()), 1..60),
        ) {
            let mut row = action(required);
            let mut stale = row.clone();
            let (mut left_pending, mut redeemed) = (0, 0);
            for (step, number, now, old_view) in steps {
                let seen = if old_view { stale.clone() } else { row.clone() };
                stale = row.clone();
                let Some(next) = perform(&seen, step, request(number), at(now)) else { continue };
                if seen != row {
                    continue;
                }
                if row.status != next.status {
                    prop_assert_eq!(row.status, ActionStatus::Pending);
                    left_pending += 1;
                }
                if next.status == ActionStatus::Approved && row.status == ActionStatus::Pending {
                    prop_assert!(now < END.millis() && next.approvals.len() == required);
                }
                if row.redeemed_by != next.redeemed_by {
                    prop_assert!(next.status == ActionStatus::Approved && now < TOKEN_END.millis());
                    redeemed += 1;
                }
                row = next;
            }
            prop_assert!(left_pending <= 1 && redeemed <= 1);
            let people: std::collections::BTreeSet<_> = row.approvals.iter().map(|(user, _)| user).collect();
            prop_assert_eq!(people.len(), row.approvals.len(), "nobody counts twice");
        }
    }
}
