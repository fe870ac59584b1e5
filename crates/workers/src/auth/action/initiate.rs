//! A user starts an action: who must approve it is settled, the challenge is made, and they are told.

use std::collections::BTreeMap;

use ridgeline_domain::{ActionId, ActionStatus, Amount, DeviceId, DurationMs, Refusal, UserId};
use ridgeline_egress::CallbackUrl;
use ridgeline_flow::auth::{APPROVERS_MAX, Approver, Asked, PENDING_MAX, StepRule};
use ridgeline_identity::UserCaller;
use ridgeline_ports::{PlainWrite, RowKey};
use ridgeline_runtime::StepError;
use ridgeline_vault::{Challenge, action_digest, canonical_json, derive_id};
use ridgeline_wire::action::{ActionReply, ActionStart, Notice};
use ridgeline_wire::action_row::{ActionRow, ActionStep, InboxRow, OpenAction, RoleUserRow, UserActionsRow, table};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::auth_row::{self, DeviceRow, UserDevicesRow};
use ridgeline_wire::decode;
use serde_json::{Map, Value};

use super::super::due::DueKind;
use super::super::rows::{Loaded, insert, load, put, replace};
use super::super::{Halt, Work};
use super::{approvers_of, forgotten_at, notice, of_row, steps_in, steps_of};
use crate::platform::wire_fault;

/// Shortest and longest time that an action may wait.
const LIFE_SECONDS: std::ops::RangeInclusive<i32> = 120..=300;
/// Holders of a role that are read at once.
const HOLDERS_PAGE: usize = 64;
/// A display code is one of so many: two digits.
const DISPLAY_CODES: u64 = 100;

/// Those who are asked, and their devices that can be told.
type Told = BTreeMap<UserId, Vec<DeviceId>>;

impl Work<'_> {
    /// A new action of the caller.
    pub(in super::super) async fn initiate(&mut self) -> Result<AuthReply, Halt> {
        let start = self.needed(&self.command.body.action)?;
        let id = ActionId::from_bytes(derive_id("action", self.command.id));
        self.about.action = Some(id);
        let there = load::<ActionRow>(&self.auth.platform, table::ACTIONS, &id.to_string()).await?;
        let row = match there {
            Some(there) => there.row,
            None => self.begun(id, start).await?,
        };
        self.about.user = Some(row.user.clone());
        let asked = self.asked(&row, 0).await?;
        if row.status == ActionStatus::Pending {
            self.spread(&row).await?;
        }
        let notified: usize = asked.values().map(Vec::len).sum();
        self.notice_of_request(&row, asked);
        let challenge = self.opened_of(id, "challenge", &row.challenge)?;
        let code = row.display_code.as_deref().map(|code| self.opened_of(id, "display_code", code)).transpose()?;
        let action = ActionReply {
            action_id: id,
            status: row.status,
            action_type: row.action_type.clone(),
            challenge: Some(challenge.expose().clone()),
            display_code: code.map(|code| code.expose().clone()),
            expires_at: row.expires_at,
            notified_devices: i32::try_from(notified).unwrap_or(i32::MAX),
            redeemed_at: None,
        };
        Ok(AuthReply { action: Some(action), ..AuthReply::default() })
    }

    /// Checks what is asked, takes a place among the user's open actions and writes the row.
    async fn begun(&mut self, id: ActionId, start: &ActionStart) -> Result<ActionRow, Halt> {
        let caller = self.user().await?;
        let payload = canonical_json(&start.payload)
            .map_err(|error| Halt::Refused(Refusal::Invalid, Some(format!("actionPayload: {error}"))))?;
        if !LIFE_SECONDS.contains(&start.life_seconds) {
            return Err(Refusal::Invalid.into());
        }
        if let Some(url) = &start.callback_url {
            let parse =
                if self.auth.parts.config.private_callbacks { CallbackUrl::parse_private } else { CallbackUrl::parse };
            parse(url).map_err(|error| Halt::Refused(Refusal::Invalid, Some(format!("callbackUrl: {error}"))))?;
        }
        let steps = self.steps(&caller.user, start, &payload).await?;
        let row = self.action_row(id, (caller, start), &payload, steps)?;
        self.take_place(&row).await?;
        let key = id.to_string();
        let there = insert(&self.auth.platform, table::ACTIONS, &key, &row, Some(forgotten_at(&row))).await?;
        Ok(there.map_or(row, |there| there.row))
    }

    fn action_row(
        &self,
        id: ActionId,
        (caller, start): (UserCaller, &ActionStart),
        payload: &str,
        (in_order, steps): (bool, Vec<ActionStep>),
    ) -> Result<ActionRow, Halt> {
        let (now, entropy) = (self.command.now, &*self.auth.platform.entropy);
        // It was read as canonical JSON before.
        let digest = action_digest(start.action_type.as_str(), payload).map_err(|_| Refusal::Invalid)?;
        let challenge = Challenge::for_action(entropy, &digest);
        let code = start.display_code.then(|| {
            let mut bytes = [0; 8];
            entropy.fill(&mut bytes);
            format!("{:02}", u64::from_be_bytes(bytes) % DISPLAY_CODES)
        });
        Ok(ActionRow {
            action_id: id,
            user: caller.user,
            client: caller.client,
            action_type: start.action_type.clone(),
            payload: self.sealed_for(id, "payload", payload.as_bytes())?,
            challenge: self.sealed_for(id, "challenge", challenge.text().as_bytes())?,
            display_code: code.map(|code| self.sealed_for(id, "display_code", code.as_bytes())).transpose()?,
            language: start.language,
            callback_url: start
                .callback_url
                .as_ref()
                .map(|url| self.sealed_for(id, "callback_url", url.as_bytes()))
                .transpose()?,
            caller: self.sealed_caller(id, "caller")?,
            in_order,
            steps,
            approvals: Vec::new(),
            wrong_codes: Vec::new(),
            status: ActionStatus::Pending,
            created_by: self.command.id,
            created_at: now,
            expires_at: now.plus(DurationMs::from_secs(i64::from(start.life_seconds))),
            finished_by: None,
            finished_at: None,
            rejected_by: None,
            rejected_with: None,
            reason: None,
            token: None,
            nonce: None,
            token_expires_at: None,
            redeemed_by: None,
            redeemed_at: None,
            updated_at: now,
        })
    }

    /// Who must approve, by the policy, everybody by name; and whether in order.
    async fn steps(
        &self,
        initiator: &UserId,
        start: &ActionStart,
        payload: &str,
    ) -> Result<(bool, Vec<ActionStep>), Halt> {
        let fields: Map<String, Value> = serde_json::from_str(payload).map_err(|_| Refusal::Invalid)?;
        let asked = Asked {
            action_type: &start.action_type,
            amount: amount(fields.get("amount")),
            currency: fields.get("currency").and_then(Value::as_str),
        };
        let missing = |detail: &str| Err(Halt::Refused(Refusal::ApproversMissing, Some(detail.to_owned())));
        let rule = self.auth.parts.config.approvals.rule(&asked)?;
        let Some(rule) = rule.filter(|rule| !rule.steps.is_empty()) else {
            if self.devices_of(initiator).await?.is_empty() {
                return missing("register a device first: there is none to approve this on");
            }
            let (approvers, named) = (vec![initiator.clone()], vec![initiator.clone()]);
            return Ok((false, vec![ActionStep { approvers, named, roles: Vec::new(), required: 1 }]));
        };
        let mut steps = Vec::with_capacity(rule.steps.len());
        for step in &rule.steps {
            let excluded = (!rule.initiator_may_approve).then_some(initiator);
            steps.push(self.resolved(step, excluded).await?);
        }
        if steps_in(rule.in_order, &steps).can_be_done() {
            return Ok((rule.in_order, steps));
        }
        missing("fewer people with a registered device may approve this than must")
    }

    /// Those whom a step names, and who have a device that may sign for it.
    async fn resolved(&self, step: &StepRule, excluded: Option<&UserId>) -> Result<ActionStep, StepError> {
        let mut found = ActionStep {
            approvers: Vec::new(),
            named: Vec::new(),
            roles: Vec::new(),
            required: i32::try_from(step.required).unwrap_or(i32::MAX),
        };
        for approver in &step.approvers {
            match approver {
                Approver::User(user) => {
                    let is_new = excluded != Some(user) && !found.named.contains(user);
                    if is_new && !self.devices_of(user).await?.is_empty() {
                        found.named.push(user.clone());
                        add(&mut found.approvers, user);
                    }
                }
                Approver::Role(role) => {
                    found.roles.push(role.clone());
                    self.add_holders(role, excluded, &mut found.approvers).await?;
                }
            }
        }
        Ok(found)
    }

    /// Adds those who have a device that was registered with a role. Places in the index that lead to nobody are taken away.
    async fn add_holders(
        &self,
        role: &str,
        excluded: Option<&UserId>,
        approvers: &mut Vec<UserId>,
    ) -> Result<(), StepError> {
        let store = &self.auth.platform.store;
        let mut after: Option<String> = None;
        loop {
            let rows = store.range(table::ROLE_USERS, role, after.as_deref(), HOLDERS_PAGE).await?;
            for (key, found) in &rows {
                let Ok(user) = key.clustering.parse::<UserId>() else { continue };
                if excluded == Some(&user) || approvers.contains(&user) {
                    continue;
                }
                if approvers.len() >= APPROVERS_MAX {
                    return Ok(());
                }
                let devices = self.devices_of(&user).await?;
                if devices.iter().any(|device| device.roles.iter().any(|held| held == role)) {
                    approvers.push(user);
                } else {
                    // As old as it is itself: a registration that is on its way is not hidden by it.
                    let row: RoleUserRow = decode(&found.value).map_err(wire_fault)?;
                    store.delete(table::ROLE_USERS, key, row.registered_at).await?;
                }
            }
            match rows.last() {
                Some((key, _)) if rows.len() == HOLDERS_PAGE => after = Some(key.clustering.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// The active devices of a user.
    async fn devices_of(&self, user: &UserId) -> Result<Vec<DeviceRow>, StepError> {
        let platform = &self.auth.platform;
        let known = load::<UserDevicesRow>(platform, auth_row::table::USER_DEVICES, user.as_str()).await?;
        let mut devices = Vec::new();
        for device in known.iter().flat_map(|known| &known.row.devices) {
            let row = load::<DeviceRow>(platform, auth_row::table::DEVICES, &device.device_id.to_string()).await?;
            devices.extend(row.map(|row| row.row).filter(|row| row.is_active && row.user == *user));
        }
        Ok(devices)
    }

    /// Takes a place among the user's open actions. Those that are final or over give theirs back here.
    async fn take_place(&self, row: &ActionRow) -> Result<(), Halt> {
        let (platform, now, user) = (&self.auth.platform, self.command.now, &row.user);
        let loaded = load::<UserActionsRow>(platform, table::USER_ACTIONS, user.as_str()).await?;
        let mut open = Vec::new();
        for entry in loaded.iter().flat_map(|loaded| &loaded.row.open) {
            if entry.action_id == row.action_id || entry.expires_at <= now {
                continue;
            }
            // One without a row is being written by another command, which takes its place already.
            let there = load::<ActionRow>(platform, table::ACTIONS, &entry.action_id.to_string()).await?;
            if there.is_none_or(|there| there.row.status == ActionStatus::Pending) {
                open.push(entry.clone());
            }
        }
        if open.len() >= PENDING_MAX {
            return Err(Refusal::TooManyPending.into());
        }
        open.push(OpenAction { action_id: row.action_id, expires_at: row.expires_at });
        let next = UserActionsRow { user: user.clone(), open };
        let expires = Some(row.expires_at);
        match loaded {
            Some(loaded) => {
                let changed = Loaded { row: next, version: loaded.version };
                replace(platform, table::USER_ACTIONS, user.as_str(), &changed, expires).await
            }
            None => match insert(platform, table::USER_ACTIONS, user.as_str(), &next, expires).await? {
                None => Ok(()),
                Some(_) => Err(Halt::Raced),
            },
        }
    }

    /// Where approvers find it, and when its time is over.
    async fn spread(&self, row: &ActionRow) -> Result<(), StepError> {
        let write = PlainWrite { at: row.created_at, expires_at: Some(row.expires_at) };
        for approver in approvers_of(row) {
            let key = RowKey::new(approver.as_str(), row.action_id.to_string());
            let entry = InboxRow { expires_at: row.expires_at };
            put(&self.auth.platform, table::ACTION_INBOX, &key, &entry, write).await?;
        }
        self.due(DueKind::Action, &row.action_id.to_string(), row.expires_at).await
    }

    /// The devices with a push token of those who are wanted after the first `approvals`, and were not before.
    pub(super) async fn asked(&self, row: &ActionRow, approvals: usize) -> Result<Told, StepError> {
        let (steps, action) = (steps_of(row), of_row(row));
        let so_far: Vec<&UserId> = action.approvals.iter().map(|(user, _)| user).take(approvals).collect();
        let wanted = steps.wanted(&so_far);
        let before = match so_far.split_last() {
            Some((_, before)) => steps.wanted(before),
            None => Vec::new(),
        };
        let mut asked = Told::new();
        for user in wanted.into_iter().filter(|user| !before.contains(user)) {
            let devices = self.devices_of(user).await?;
            let told = devices.iter().filter(|device| device.push_token.is_some()).map(|device| device.device_id);
            asked.insert(user.clone(), told.collect());
        }
        Ok(asked)
    }

    /// Everybody who is asked is told on every device that can be told.
    pub(super) fn notice_of_request(&mut self, row: &ActionRow, asked: Told) {
        let (request_id, created_at) = (self.command.id, self.command.now);
        let notices = asked.into_iter().filter(|(_, devices)| !devices.is_empty()).map(|(user, devices)| Notice {
            request_id,
            kind: notice::REQUEST.to_owned(),
            action_id: row.action_id,
            user,
            devices,
            statement: None,
            created_at,
            expires_at: row.expires_at,
        });
        self.follows.notices.extend(notices);
    }
}

fn add(approvers: &mut Vec<UserId>, user: &UserId) {
    if !approvers.contains(user) {
        approvers.push(user.clone());
    }
}

/// The amount in a payload: a number or a text. `Err`: something else, or one that two readers may read differently.
fn amount(field: Option<&Value>) -> Result<Option<Amount>, ()> {
    match field {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number.to_string().parse().map(Some).map_err(|_| ()),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| ()),
        Some(_) => Err(()),
    }
}
