//! Who must approve an action: rules by kind and amount, and which approvals together are enough.

use std::collections::BTreeSet;

use ridgeline_domain::{ActionType, Amount, Refusal, UserId};

/// Approvers of one step at most, once roles are resolved.
pub const APPROVERS_MAX: usize = 64;
/// Approvals that a rule may ask for, in all its steps: who may fill which place is searched for.
pub const REQUIRED_MAX: usize = 16;
/// Steps of a rule at most.
pub const STEPS_MAX: usize = 8;

/// The rules of a deployment. Without any, every user approves on a device of his own what he initiates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalPolicy {
    /// The first that covers an action counts.
    pub rules: Vec<ApprovalRule>,
}

/// Who must approve actions of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// Which kind; `None`: any for which there is no other rule.
    pub action_type: Option<ActionType>,
    /// Only amounts in this currency; `None`: any.
    pub currency: Option<String>,
    /// Only amounts from here.
    pub amount_from: Option<Amount>,
    /// Only amounts below.
    pub amount_below: Option<Amount>,
    /// Whether a step is open only when those before it are done.
    pub in_order: bool,
    /// Whether who initiates may approve too.
    pub initiator_may_approve: bool,
    /// Every one must be done. None: the initiator's own approval is enough.
    pub steps: Vec<StepRule>,
}

/// Some of several must approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRule {
    /// Who may.
    pub approvers: Vec<Approver>,
    /// How many of them must.
    pub required: usize,
}

/// Whom a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approver {
    /// One user.
    User(UserId),
    /// Everybody with a role and a registered device.
    Role(String),
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The kind.
    pub action_type: &'a ActionType,
    /// The payload's `amount`; `Err`: there is something else in its place.
    pub amount: Result<Option<Amount>, ()>,
    /// The payload's `currency`.
    pub currency: Option<&'a str>,
}

impl ApprovalPolicy {
    /// The rule for an action; `None`: the initiator approves himself.
    ///
    /// # Errors
    /// [`Refusal::ActionNotCovered`] where there are rules for its kind and none covers it: an amount that is missing, strange or in
    /// another currency must not slip past the rule for large ones.
    pub fn rule(&self, asked: &Asked<'_>) -> Result<Option<&ApprovalRule>, Refusal> {
        let named: Vec<_> =
            self.rules.iter().filter(|rule| rule.action_type.as_ref() == Some(asked.action_type)).collect();
        let rules = if named.is_empty() {
            self.rules.iter().filter(|rule| rule.action_type.is_none()).collect()
        } else {
            named
        };
        match rules.iter().find(|rule| rule.covers(asked)) {
            Some(rule) => Ok(Some(rule)),
            None if rules.is_empty() => Ok(None),
            None => Err(Refusal::ActionNotCovered),
        }
    }
}

impl ApprovalRule {
    fn covers(&self, asked: &Asked<'_>) -> bool {
        if self.currency.as_deref().is_some_and(|currency| asked.currency != Some(currency)) {
            return false;
        }
        match (self.amount_from, self.amount_below, asked.amount) {
            (None, None, _) => true,
            (from, below, Ok(Some(amount))) => {
                from.is_none_or(|from| from <= amount) && below.is_none_or(|below| amount < below)
            }
            _ => false,
        }
    }
}

/// The steps of one action, with everybody by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// Whether a step is open only when those before it are done.
    pub in_order: bool,
    /// In order.
    pub steps: Vec<Step>,
}

/// Some of several must approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Who may.
    pub approvers: Vec<UserId>,
    /// How many of them must.
    pub required: usize,
}

impl Steps {
    /// How many must approve, together.
    #[must_use]
    pub fn required(&self) -> usize {
        self.steps.iter().fold(0, |sum: usize, step| sum.saturating_add(step.required))
    }

    /// Whether there are enough different people for all steps.
    #[must_use]
    pub fn can_be_done(&self) -> bool {
        let everybody: BTreeSet<&UserId> = self.steps.iter().flat_map(|step| &step.approvers).collect();
        self.filled(&everybody.into_iter().collect::<Vec<_>>()) == self.required()
    }

    /// Whether `user` stands in any step.
    #[must_use]
    pub fn names(&self, user: &UserId) -> bool {
        self.steps.iter().any(|step| step.approvers.contains(user))
    }

    /// Whether everybody who must has approved.
    #[must_use]
    pub fn are_done(&self, approved: &[&UserId]) -> bool {
        if !self.in_order {
            return self.filled(approved) == self.required();
        }
        self.open(approved).is_none()
    }

    /// Whether an approval by `user` brings the action further. Everybody counts once.
    #[must_use]
    pub fn wants(&self, approved: &[&UserId], user: &UserId) -> bool {
        if approved.contains(&user) {
            return false;
        }
        if self.in_order {
            let is_open = self.open(approved).is_some_and(|step| step.approvers.contains(user));
            return is_open && self.can_go_on(approved, user);
        }
        let with: Vec<&UserId> = approved.iter().copied().chain([user]).collect();
        self.filled(&with) > self.filled(approved)
    }

    /// In order: whether those who have not approved are enough for the steps that are left once `user` has. Who is needed in a later
    /// step must not be used up in an earlier one.
    fn can_go_on(&self, approved: &[&UserId], user: &UserId) -> bool {
        let mut used = approved.len() + 1;
        let left = self.steps.iter().map(|step| {
            let here = used.min(step.required);
            used -= here;
            Step { approvers: step.approvers.clone(), required: step.required - here }
        });
        let left = Self { in_order: false, steps: left.collect() };
        let others: BTreeSet<&UserId> = left.steps.iter().flat_map(|step| &step.approvers).collect();
        let others: Vec<_> = others.into_iter().filter(|other| *other != user && !approved.contains(other)).collect();
        left.filled(&others) == left.required()
    }

    /// Those whose approval is wanted next.
    #[must_use]
    pub fn wanted(&self, approved: &[&UserId]) -> Vec<&UserId> {
        let everybody: BTreeSet<&UserId> = self.steps.iter().flat_map(|step| &step.approvers).collect();
        everybody.into_iter().filter(|user| self.wants(approved, user)).collect()
    }

    /// In order: the step that is open after these approvals, which came in this order.
    fn open(&self, approved: &[&UserId]) -> Option<&Step> {
        let mut left = approved.len();
        self.steps.iter().find(|step| {
            let is_open = left < step.required;
            left = left.saturating_sub(step.required);
            is_open
        })
    }

    /// How many places these people can fill, each one place: a largest matching, by augmenting paths.
    fn filled(&self, people: &[&UserId]) -> usize {
        let places: Vec<&Step> =
            self.steps.iter().flat_map(|step| std::iter::repeat_n(step, step.required.min(APPROVERS_MAX))).collect();
        let mut taken: Vec<Option<usize>> = vec![None; places.len()];
        (0..people.len())
            .filter(|person| seat(*person, people, &places, &mut taken, &mut vec![false; places.len()]))
            .count()
    }
}

/// Finds a place for a person, moving others to other places where that helps.
fn seat(person: usize, people: &[&UserId], places: &[&Step], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for place in 0..places.len() {
        let may =
            people.get(person).is_some_and(|user| places.get(place).is_some_and(|step| step.approvers.contains(user)));
        if !may || seen.get(place).copied().unwrap_or(true) {
            continue;
        }
        if let Some(seen) = seen.get_mut(place) {
            *seen = true;
        }
        let free = match taken.get(place).copied().flatten() {
            None => true,
            Some(other) => seat(other, people, places, taken, seen),
        };
        if free {
            if let Some(taken) = taken.get_mut(place) {
                *taken = Some(person);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ridgeline_testkit::covers;

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new("https://rl.example", name).unwrap()
    }

    fn steps(in_order: bool, steps: &[(&[&str], usize)]) -> Steps {
        let step = |(names, required): &(&[&str], usize)| Step {
            approvers: names.iter().map(|name| user(name)).collect(),
            required: *required,
        };
        Steps { in_order, steps: steps.iter().map(step).collect() }
    }

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    fn rule(action_type: Option<&str>) -> ApprovalRule {
        ApprovalRule {
            action_type: action_type.map(|name| name.parse().unwrap()),
            currency: None,
            amount_from: None,
            amount_below: None,
            in_order: false,
            initiator_may_approve: false,
            steps: Vec::new(),
        }
    }

    #[test]
    fn the_first_rule_that_covers_an_action_counts_and_nothing_slips_past() {
        covers!("R-126");
        let vnd = |from: Option<&str>, below: Option<&str>| ApprovalRule {
            currency: Some("VND".to_owned()),
            amount_from: from.map(amount),
            amount_below: below.map(amount),
            ..rule(Some("payment_approval"))
        };
        let (small, large) = (vnd(None, Some("100000000")), vnd(Some("100000000"), None));
        let policy = ApprovalPolicy { rules: vec![small.clone(), large.clone()] };
        let payment: ActionType = "payment_approval".parse().unwrap();
        let ask = |amount, currency| policy.rule(&Asked { action_type: &payment, amount, currency });
        assert_eq!(ask(Ok(Some(amount("99999999.999999"))), Some("VND")), Ok(Some(&small)));
        assert_eq!(ask(Ok(Some(amount("100000000"))), Some("VND")), Ok(Some(&large)));
        for (amount, currency) in [
            (Ok(None), Some("VND")),
            (Err(()), Some("VND")),
            (Ok(Some(amount("1"))), Some("USD")),
            (Ok(Some(amount("1"))), None),
        ] {
            assert_eq!(ask(amount, currency), Err(Refusal::ActionNotCovered), "{amount:?} {currency:?}");
        }
        let other: ActionType = "user_access".parse().unwrap();
        assert_eq!(policy.rule(&Asked { action_type: &other, amount: Ok(None), currency: None }), Ok(None));
        let any = ApprovalPolicy { rules: vec![rule(None), large] };
        assert_eq!(any.rule(&Asked { action_type: &other, amount: Ok(None), currency: None }), Ok(Some(&rule(None))));
        let payment = Asked { action_type: &payment, amount: Ok(None), currency: None };
        assert_eq!(
            any.rule(&payment),
            Err(Refusal::ActionNotCovered),
            "the rule for any kind is not for a kind with rules"
        );
    }

    #[test]
    fn steps_in_order_open_one_after_the_other() {
        covers!("R-126");
        let steps = steps(true, &[(&["ann", "bob"], 1), (&["bob", "cy", "dan"], 2)]);
        let (ann, bob, cy, dan) = (user("ann"), user("bob"), user("cy"), user("dan"));
        assert!(steps.wants(&[], &ann) && steps.wants(&[], &bob) && !steps.wants(&[], &cy));
        let needed = self::steps(true, &[(&["ann", "bob"], 1), (&["bob"], 1)]);
        assert!(needed.wants(&[], &ann) && !needed.wants(&[], &bob), "bob is needed later");
        assert!(!steps.wants(&[&bob], &ann), "its step is done");
        assert!(!steps.wants(&[&bob], &bob), "everybody counts once");
        assert_eq!(steps.wanted(&[&ann]), [&bob, &cy, &dan]);
        assert!(!steps.are_done(&[&ann, &bob]) && steps.are_done(&[&ann, &bob, &dan]));
        assert!(!steps.wants(&[&ann, &bob, &dan], &cy));
    }

    #[test]
    fn in_any_order_people_fill_the_places_where_they_are_needed() {
        covers!("R-126");
        // ann could stand in either step; that she came first must not take the place that only bob can fill.
        let steps = steps(false, &[(&["ann", "bob"], 1), (&["ann", "cy"], 1)]);
        let (ann, bob, cy) = (user("ann"), user("bob"), user("cy"));
        assert!(steps.wants(&[&ann], &bob) && steps.wants(&[&ann], &cy));
        assert!(steps.are_done(&[&ann, &bob]) && steps.are_done(&[&ann, &cy]) && steps.are_done(&[&bob, &cy]));
        assert!(!steps.are_done(&[&ann]));
        assert!(!steps.wants(&[&bob, &cy], &ann));
    }

    #[test]
    fn too_few_people_are_seen_before_anybody_is_asked() {
        assert!(steps(false, &[(&["ann"], 1), (&["ann", "bob"], 1)]).can_be_done());
        assert!(!steps(false, &[(&["ann"], 1), (&["ann"], 1)]).can_be_done(), "one person is not two");
        assert!(!steps(true, &[(&["ann", "bob"], 3)]).can_be_done());
        assert!(!steps(true, &[(&[], 1)]).can_be_done());
        assert!(steps(false, &[(&["ann"], 1)]).can_be_done());
    }

    proptest! {
        /// Whoever is wanted brings the action further, and asking only those who are wanted ends with everybody who must.
        #[test]
        fn asking_those_who_are_wanted_leads_to_the_end(
            shape in proptest::collection::vec((proptest::collection::vec(0_usize..6, 1..5), 1_usize..3), 1..4),
            in_order: bool,
            picks in proptest::collection::vec(0_usize..100, 12),
        ) {
            let names: Vec<String> = (0..6).map(|number| format!("u{number}")).collect();
            let all = Steps {
                in_order,
                steps: shape.iter().map(|(people, required)| Step {
                    approvers: people.iter().map(|person| user(&names[*person])).collect::<BTreeSet<_>>().into_iter().collect(),
                    required: *required,
                }).collect(),
            };
            let mut approved: Vec<UserId> = Vec::new();
            for pick in picks {
                let so_far: Vec<&UserId> = approved.iter().collect();
                let wanted = all.wanted(&so_far);
                if wanted.is_empty() { break; }
                approved.push(wanted[pick % wanted.len()].clone());
            }
            let so_far: Vec<&UserId> = approved.iter().collect();
            prop_assert!(approved.len() <= all.required());
            if all.can_be_done() {
                prop_assert!(all.are_done(&so_far));
            }
            prop_assert_eq!(all.are_done(&so_far), so_far.len() == all.required());
        }
    }
}
