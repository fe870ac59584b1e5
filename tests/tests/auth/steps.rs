//! Several people must approve one action.

use crate::actions::{Person, status, token_of};
use crate::harness::{Phone, Site, claim, initiate, payment, user_id};
use ridgeline_domain::{ActionStatus, Refusal};
use ridgeline_flow::auth::{ApprovalPolicy, ApprovalRule, Approver, StepRule};
use ridgeline_testkit::clock::TestClock;
use ridgeline_testkit::covers;
use ridgeline_wire::Topic;
use ridgeline_wire::action::Notice;

fn two_steps(in_order: bool) -> ApprovalPolicy {
    let role = |role: &str, required| StepRule { approvers: vec![Approver::Role(role.to_owned())], required };
    ApprovalPolicy {
        rules: vec![ApprovalRule {
            action_type: Some("payment_approval".parse().unwrap()),
            currency: Some("VND".to_owned()),
            amount_from: None,
            amount_below: None,
            in_order,
            initiator_may_approve: false,
            steps: vec![role("accountant", 1), role("director", 2)],
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_people_approve_in_order_and_one_no_ends_it() {
    covers!("R-126", "R-310");
    let mut site = Site::open(TestClock::running(), None, |ports| ports).await;
    site.approvals = two_steps(true);
    site.work(&["a"]);
    let clerk = Person::of(&site, "clerk", "clerk").await;
    let refused = initiate(&site, &clerk.web, payment()).await;
    assert_eq!(refused.refusal, Some(Refusal::ApproversMissing), "nobody has a device");
    let accountant = Person::of(&site, "acc", "accountant").await;
    let ann = Person::of(&site, "ann", "director").await;
    assert_eq!(initiate(&site, &clerk.web, payment()).await.refusal, Some(Refusal::ApproversMissing), "one is too few");
    let bob = Person::of(&site, "bob", "director").await;
    assert_eq!(initiate(&site, &ann.web, payment()).await.refusal, Some(Refusal::ApproversMissing), "not her own");

    let (action, challenge) = clerk.starts(&site, payment()).await;
    assert_eq!(clerk.approves(&site, action, &challenge).await.refusal, Some(Refusal::NotAllowed));
    assert_eq!(ann.approves(&site, action, &challenge).await.refusal, Some(Refusal::NotAllowed), "not her turn");
    assert_eq!(status(&accountant.approves(&site, action, &challenge).await), Some(ActionStatus::Pending));
    assert_eq!(accountant.approves(&site, action, &challenge).await.refusal, Some(Refusal::NotAllowed), "once");
    assert_eq!(status(&ann.approves(&site, action, &challenge).await), Some(ActionStatus::Pending));
    assert_eq!(site.action(action).await.approvals.len(), 2, "partial approvals stand in the row");
    assert_eq!(status(&bob.approves(&site, action, &challenge).await), Some(ActionStatus::Approved));
    let token = token_of(&site, action).await;
    assert_eq!(claim(&token, "sub").as_deref(), Some("clerk"), "the initiator's");
    assert!(clerk.redeems(&site, action, &token).await.action.is_some());

    let (action, challenge) = clerk.starts(&site, payment()).await;
    accountant.approves(&site, action, &challenge).await;
    assert_eq!(status(&bob.rejects(&site, action).await), Some(ActionStatus::Rejected));
    assert_eq!(ann.approves(&site, action, &challenge).await.refusal, Some(Refusal::ActionFinal));
}

/// What was approved on a phone that is stolen does not count, neither among others' approvals nor for redemption.
#[tokio::test(flavor = "multi_thread")]
async fn approvals_of_a_revoked_device_count_no_more() {
    let mut site = Site::open(TestClock::running(), None, |ports| ports).await;
    site.approvals = two_steps(false);
    site.work(&["a"]);
    let clerk = Person::of(&site, "clerk", "clerk").await;
    let accountant = Person::of(&site, "acc", "accountant").await;
    let ann = Person::of(&site, "ann", "director").await;
    let bob = Person::of(&site, "bob", "director").await;
    let (action, challenge) = clerk.starts(&site, payment()).await;
    ann.approves(&site, action, &challenge).await;
    accountant.approves(&site, action, &challenge).await;
    site.revoke("device", &ann.tokens.device_id.unwrap().to_string()).await.revoked.unwrap();
    assert_eq!(status(&bob.approves(&site, action, &challenge).await), Some(ActionStatus::Pending), "ann's is missing");
    // A phone that was registered without the role does not sign for it, whatever its owner had before.
    let roleless = site.web_token_without_roles("ann").await;
    let phone = Phone::new("new-phone-of-ann");
    phone.register(&site, &roleless).await;
    let plain = Person { tokens: phone.login(&site).await, phone, web: ann.web.clone() };
    assert_eq!(plain.approves(&site, action, &challenge).await.refusal, Some(Refusal::NotAllowed));
    let phone = Phone::new("newest-phone-of-ann");
    phone.register(&site, &ann.web).await;
    let again = Person { tokens: phone.login(&site).await, phone, web: ann.web.clone() };
    assert_eq!(status(&again.approves(&site, action, &challenge).await), Some(ActionStatus::Approved));
    let token = token_of(&site, action).await;
    site.revoke("device", &again.tokens.device_id.unwrap().to_string()).await.revoked.unwrap();
    assert_eq!(clerk.redeems(&site, action, &token).await.refusal, Some(Refusal::Revoked));
}

/// In order, what was built on an approval that counts no more goes with it: nobody slips past a step.
#[tokio::test(flavor = "multi_thread")]
async fn in_order_a_revoked_approval_takes_those_after_it_along() {
    let mut site = Site::open(TestClock::running(), None, |ports| ports).await;
    site.approvals = two_steps(true);
    site.work(&["a"]);
    let clerk = Person::of(&site, "clerk", "clerk").await;
    let accountant = Person::of(&site, "acc", "accountant").await;
    let ann = Person::of(&site, "ann", "director").await;
    let bob = Person::of(&site, "bob", "director").await;
    let (action, challenge) = clerk.starts(&site, payment()).await;
    accountant.approves(&site, action, &challenge).await;
    ann.approves(&site, action, &challenge).await;
    site.revoke("device", &accountant.tokens.device_id.unwrap().to_string()).await.revoked.unwrap();
    assert_eq!(bob.approves(&site, action, &challenge).await.refusal, Some(Refusal::NotAllowed), "step one is open");
    assert!(site.action(action).await.approvals.is_empty(), "and everybody can see that");
    let phone = Phone::new("new-phone-of-acc");
    phone.register(&site, &accountant.web).await;
    let accountant = Person { tokens: phone.login(&site).await, phone, web: accountant.web };
    for (person, ends) in
        [(&accountant, ActionStatus::Pending), (&ann, ActionStatus::Pending), (&bob, ActionStatus::Approved)]
    {
        assert_eq!(status(&person.approves(&site, action, &challenge).await), Some(ends));
    }
    let token = token_of(&site, action).await;
    let family = crate::harness::family_in(ann.tokens.refresh_token.as_ref().unwrap());
    site.revoke("family", &family).await.revoked.unwrap();
    assert_eq!(clerk.redeems(&site, action, &token).await.refusal, Some(Refusal::Revoked), "not only the last one's");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_whose_turn_it_is_are_told_on_every_device_with_a_push_token() {
    covers!("R-127");
    let mut site = Site::open(TestClock::running(), None, |ports| ports).await;
    site.approvals = two_steps(true);
    site.work(&["a"]);
    let mut people = Vec::new();
    for (name, role) in [("clerk", "clerk"), ("acc", "accountant"), ("ann", "director"), ("bob", "director")] {
        let person = Person::of(&site, name, role).await;
        let device = person.tokens.device_id.unwrap();
        site.push_token(&person.web, device, &format!("push-{name}")).await;
        people.push(person);
    }
    let second = Phone::new("second-phone-of-acc");
    let second = second.register(&site, &people[1].web).await;
    site.push_token(&people[1].web, second.device_id, "push-2").await;
    let without = Phone::new("third-phone-of-acc");
    without.register(&site, &people[1].web).await;

    let started = initiate(&site, &people[0].web, payment()).await.action.unwrap();
    assert_eq!(started.notified_devices, 2);
    people[1].approves(&site, started.action_id, &started.challenge.unwrap()).await;
    site.until(async || site.all::<Notice>(Topic::Notifications).await.len() == 3).await;
    let notices: Vec<Notice> = site.all(Topic::Notifications).await;
    let of = |name: &str| notices.iter().filter(|notice| notice.user == user_id(name)).collect::<Vec<_>>();
    assert_eq!(of("acc")[0].devices.len(), 2);
    assert_eq!(
        (of("ann").len(), of("bob").len(), of("clerk").len()),
        (1, 1, 0),
        "the next step is told when it is open"
    );
    assert!(notices.iter().all(|notice| notice.kind == "confirmation_request"));
}
