//! The approval policy: a file of its own, named by `auth.approvals`.
//!
//! ```toml
//! [[action]]
//! type = "payment_approval"       # or "*": every kind without rules of its own
//! currency = "VND"                # the payload's `currency`; left out: any
//! amount_from = "100000000"       # the payload's `amount`, inclusive
//! amount_below = "5000000000"     # exclusive
//! order = "in_order"              # or "any", the default
//! initiator_may_approve = false   # the default
//! steps = [
//!   { approvers = ["role:accountant"], required = 1 },
//!   { approvers = ["role:director", "5f0c…", "https://id.example|42"], required = 2 },
//! ]
//! ```

use std::path::Path;

use anyhow::{Context as _, bail};
use ridgeline_domain::UserId;
use ridgeline_flow::auth::{APPROVERS_MAX, ApprovalPolicy, ApprovalRule, Approver, REQUIRED_MAX, STEPS_MAX, StepRule};
use serde::Deserialize;

const RULES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 1 << 20;
const ANY: &str = "*";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    action: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    r#type: String,
    currency: Option<String>,
    amount_from: Option<String>,
    amount_below: Option<String>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    initiator_may_approve: bool,
    #[serde(default)]
    steps: Vec<StepOfRule>,
}

#[derive(Default, Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Any,
    InOrder,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepOfRule {
    approvers: Vec<String>,
    required: usize,
}

/// Reads the policy; users without an issuer are the service's own.
///
/// # Errors
/// A file that cannot be read, or a rule that nobody could keep.
pub(crate) fn read(path: &Path, issuer: &str) -> anyhow::Result<ApprovalPolicy> {
    let wrong = || format!("approval policy {}", path.display());
    let size = std::fs::metadata(path).with_context(wrong)?.len();
    if size > FILE_BYTES_MAX {
        bail!("approval policy {} has more than {FILE_BYTES_MAX} bytes", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(wrong)?;
    parse(&text, issuer).with_context(wrong)
}

fn parse(text: &str, issuer: &str) -> anyhow::Result<ApprovalPolicy> {
    let file: File = toml::from_str(text)?;
    if file.action.len() > RULES_MAX {
        bail!("there may be at most {RULES_MAX} rules");
    }
    let rules = file
        .action
        .into_iter()
        .enumerate()
        .map(|(number, read)| rule(read, issuer).with_context(|| format!("rule {}", number + 1)));
    Ok(ApprovalPolicy { rules: rules.collect::<Result<_, _>>()? })
}

fn rule(read: Rule, issuer: &str) -> anyhow::Result<ApprovalRule> {
    let action_type = if read.r#type == ANY { None } else { Some(read.r#type.parse().context("type")?) };
    if read.steps.len() > STEPS_MAX {
        bail!("there may be at most {STEPS_MAX} steps");
    }
    if read.steps.is_empty() && !read.initiator_may_approve {
        bail!("name steps, or initiator_may_approve = true if the initiator's own approval is enough");
    }
    if read.steps.iter().map(|step| step.required).sum::<usize>() > REQUIRED_MAX {
        bail!("all steps together may ask for at most {REQUIRED_MAX} approvals");
    }
    let amount = |name, text: Option<String>| -> anyhow::Result<_> {
        text.map(|text| text.parse().with_context(|| format!("{name} {text:?}"))).transpose()
    };
    let (amount_from, amount_below) =
        (amount("amount_from", read.amount_from)?, amount("amount_below", read.amount_below)?);
    if amount_from.zip(amount_below).is_some_and(|(from, below)| below <= from) {
        bail!("amount_below must be more than amount_from");
    }
    if (amount_from.is_some() || amount_below.is_some()) && read.currency.is_none() {
        bail!("a rule about amounts must name their currency");
    }
    let steps = read
        .steps
        .into_iter()
        .enumerate()
        .map(|(number, read)| step(read, issuer).with_context(|| format!("step {}", number + 1)));
    Ok(ApprovalRule {
        action_type,
        currency: read.currency,
        amount_from,
        amount_below,
        in_order: read.order == Order::InOrder,
        initiator_may_approve: read.initiator_may_approve,
        steps: steps.collect::<Result<_, _>>()?,
    })
}

fn step(read: StepOfRule, issuer: &str) -> anyhow::Result<StepRule> {
    if read.approvers.is_empty() || !(1..=APPROVERS_MAX).contains(&read.required) {
        bail!("name approvers, and require between 1 and {APPROVERS_MAX} of them");
    }
    let approver = |text: String| -> anyhow::Result<Approver> {
        if let Some(role) = text.strip_prefix("role:") {
            if role.is_empty() {
                bail!("role: must be followed by a role");
            }
            return Ok(Approver::Role(role.to_owned()));
        }
        let user = if text.contains('|') { text.parse() } else { UserId::new(issuer, &text) };
        Ok(Approver::User(user.with_context(|| format!("approver {text:?}"))?))
    };
    let approvers = read.approvers.into_iter().map(approver).collect::<Result<Vec<_>, _>>()?;
    let has_role = approvers.iter().any(|approver| matches!(approver, Approver::Role(_)));
    let is_new = |(place, one): (usize, &Approver)| !approvers.iter().take(place).any(|before| before == one);
    if !has_role && approvers.iter().enumerate().filter(|one| is_new(*one)).count() < read.required {
        bail!("fewer approvers are named than are required");
    }
    Ok(StepRule { approvers, required: read.required })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
[[action]]
type = "payment_approval"
currency = "VND"
amount_below = "100000000"
initiator_may_approve = true

[[action]]
type = "payment_approval"
currency = "VND"
amount_from = "100000000"
order = "in_order"
steps = [{ approvers = ["role:accountant"], required = 1 }, { approvers = ["role:director", "ann", "https://id.example|42"], required = 2 }]

[[action]]
type = "*"
initiator_may_approve = true
steps = [{ approvers = ["role:manager"], required = 1 }]
"#;

    #[test]
    fn a_policy_is_read() {
        let policy = parse(POLICY, "ridgeline").unwrap();
        assert_eq!(policy.rules.len(), 3);
        assert!(policy.rules[0].steps.is_empty() && !policy.rules[0].in_order);
        let large = &policy.rules[1];
        assert!(large.in_order && large.amount_from == "100000000".parse().ok());
        let users = |issuer, subject| Approver::User(UserId::new(issuer, subject).unwrap());
        let approvers = &large.steps[1].approvers;
        assert_eq!(approvers[0], Approver::Role("director".to_owned()));
        assert_eq!(approvers[1..], [users("ridgeline", "ann"), users("https://id.example", "42")]);
        assert!(policy.rules[2].action_type.is_none() && policy.rules[2].initiator_may_approve);
        assert_eq!(parse("", "ridgeline").unwrap(), ApprovalPolicy::default());
    }

    #[test]
    fn what_nobody_could_keep_is_refused_and_named() {
        let step = "steps = [{ approvers = [\"role:x\"], required = 1 }]";
        for (text, said) in [
            ("[[action]]\ntype = \"a b\"", "type"),
            ("[[action]]\ntype = \"a\"", "name steps"),
            ("[[action]]\ntype = \"a\"\nsteps = [{ approvers = [\"ann\", \"ann\"], required = 2 }]", "fewer approvers"),
            ("[[action]]\ntype = \"a\"\nsteps = [{ approvers = [\"role:x\"], required = 17 }]", "at most 16"),
            (
                "[[action]]\ntype = \"a\"\ninitiator_may_approve = true\namount_from = \"1e6\"\ncurrency = \"VND\"",
                "amount_from \"1e6\"",
            ),
            (
                "[[action]]\ntype = \"a\"\ninitiator_may_approve = true\namount_from = \"10\"\namount_below = \"9\"\ncurrency = \"VND\"",
                "must be more than",
            ),
            (
                "[[action]]\ntype = \"a\"\ninitiator_may_approve = true\namount_from = \"10\"",
                "must name their currency",
            ),
            ("[[action]]\ntype = \"a\"\nsteps = [{ approvers = [], required = 1 }]", "name approvers"),
            ("[[action]]\ntype = \"a\"\nsteps = [{ approvers = [\"role:x\"], required = 0 }]", "name approvers"),
            ("[[action]]\ntype = \"a\"\nsteps = [{ approvers = [\"role:\"], required = 1 }]", "must be followed"),
            ("[[action]]\ntype = \"a\"\nordre = \"any\"", "unknown field"),
            ("[[action]]\ntype = \"a\"\norder = \"some\"", "unknown variant"),
            (&format!("[[action]]\ntype = \"a\"\n{}", step.replace("role:x", "a|b|c|")), ""),
        ] {
            match parse(text, "ridgeline") {
                Err(error) => assert!(format!("{error:#}").contains(said), "{text}: {error:#}"),
                Ok(_) => assert!(said.is_empty(), "{text} was read"),
            }
        }
    }
}
