//! The story of device authentication: a phone is registered, signs in, approves a payment and stays signed in; then a refresh token
//! is stolen. Everything goes over HTTP, as an app and an ERP system would.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ridgeline_client::{
    AuthClient, ClientError, Confirmation, ConfirmationState, Credential, InitiateAction, NewDevice, Tokens,
};
use ridgeline_domain::{DeviceId, DeviceType, KeyAlgorithm, Language, Sensitive, Severity};
use ridgeline_ports::{Delivery, EventLog, TailStart, TopicName};
use ridgeline_runtime::SystemEntropy;
use ridgeline_vault::{Aad, Challenge, DeviceSigner, Purpose, Vault, action_digest};
use ridgeline_wire::auth_row::AuditDetails;
use ridgeline_wire::message::Audit;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::operator::Operator;

const EMAIL: &str = "linh@demo.example";
const PASSWORD: &str = "correct horse battery staple";
/// How long the service may take to say something that is not the answer of a call.
const PATIENCE: Duration = Duration::from_secs(20);

/// One step of the story.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    /// What was done.
    step: &'static str,
    /// What the service answered.
    status: u16,
    /// What it should.
    expected: String,
    /// What came of it.
    got: String,
    /// Whether these agree.
    ok: bool,
}

/// The whole story.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PhoneReport {
    steps: Vec<Told>,
}

impl PhoneReport {
    /// Whether every step ended as it should.
    pub(crate) fn is_ok(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.ok)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let lines = self.steps.iter().enumerate().map(|(number, told)| {
            let Told { step, status, expected, got, ok } = told;
            let mark = if *ok { "ok  " } else { "FAIL" };
            let wanted = if *ok { String::new() } else { format!(" (expected {expected})") };
            format!("{:>3}. {mark} {step}: HTTP {status}, {got}{wanted}\n", number + 1)
        });
        let lines: String = lines.collect();
        let failed = self.steps.iter().filter(|step| !step.ok).count();
        format!("{lines}{} steps, {failed} not as they should be", self.steps.len())
    }

    fn tell(&mut self, step: &'static str, (status, got): (u16, String), expected: (u16, &str)) {
        let ok = (status, got.as_str()) == expected;
        self.steps.push(Told { step, status, expected: format!("HTTP {}, {}", expected.0, expected.1), got, ok });
    }
}

/// Where the story plays.
pub(crate) struct Stage {
    pub(crate) client: AuthClient,
    pub(crate) operator: Operator,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) audit: TopicName,
    /// Opens what audit events say to investigators.
    pub(crate) vault: Vault,
}

/// A phone whose tokens can be looked at: a thief will.
struct Handset {
    key: DeviceSigner,
    device: DeviceId,
}

/// Tells the story.
///
/// # Errors
/// What keeps it from being told: the service cannot be reached, or an answer that later steps need is missing.
pub(crate) async fn tell_phones(stage: &Stage) -> anyhow::Result<PhoneReport> {
    let mut report = PhoneReport::default();
    let body = json!({ "email": EMAIL, "password": PASSWORD, "roles": ["clerk"] });
    stage.operator.call("POST", "admin/users", Some(&body)).await.context("the demo's user")?;
    let web = stage.client.web_login(EMAIL, &Sensitive::new(PASSWORD.to_owned())).await;
    report.tell("Linh signs in on the web", seen(&web, |_| "web token".to_owned()), (200, "web token"));
    let web = web?.access_token;
    let phone = register(stage, &mut report, &web).await?;
    let tokens = sign_in(stage, &mut report, &phone).await?;
    confirm(stage, &mut report, (&web, &phone, &tokens)).await?;
    theft(stage, &mut report, tokens).await?;
    Ok(report)
}

/// Status and what came of a call.
fn seen<T>(answer: &Result<T, ClientError>, what: impl FnOnce(&T) -> String) -> (u16, String) {
    match answer {
        Ok(answer) => (200, what(answer)),
        Err(ClientError::Refused(problem)) => (problem.status, problem.code.clone()),
        Err(error) => (0, error.to_string()),
    }
}

fn plain(challenge: &Sensitive<String>) -> anyhow::Result<Challenge> {
    Ok(Challenge::from_text(challenge.expose())?)
}

/// Usage example 1: a phone makes a key and registers it.
async fn register(stage: &Stage, report: &mut PhoneReport, web: &Sensitive<String>) -> anyhow::Result<Handset> {
    let key = DeviceSigner::generate(&SystemEntropy)?;
    let (name, fingerprint) = ("Điện thoại của Linh".parse()?, "demo-phone-of-linh".parse()?);
    let device = NewDevice {
        name: &name,
        device_type: DeviceType::Mobile,
        fingerprint: &fingerprint,
        public_key: &key.public_pem()?,
        algorithm: KeyAlgorithm::Es256,
        language: Some(Language::Vi),
        proof_key: None,
    };
    let challenge = stage.client.register_challenge(web, &device).await;
    report.tell("the phone asks for a challenge", seen(&challenge, |_| "challenge".to_owned()), (200, "challenge"));
    let challenge = challenge?;
    let signed = key.sign(&plain(&challenge.text)?);
    let registered = stage.client.register_verify(challenge.session_id, &signed, None).await;
    let trust = seen(&registered, |device| format!("registered, trust {}", device.trust_level));
    report.tell("the phone signs it after Linh's fingerprint", trust, (200, "registered, trust medium"));
    let again = stage.client.register_verify(challenge.session_id, &signed, None).await;
    report.tell("the same answer once more", seen(&again, |_| "registered".to_owned()), (401, "RL-1401"));
    Ok(Handset { key, device: registered?.device_id })
}

/// Usage example 2: the phone signs in with its key.
async fn sign_in(stage: &Stage, report: &mut PhoneReport, phone: &Handset) -> anyhow::Result<Tokens> {
    let fingerprint = "demo-phone-of-linh".parse()?;
    let challenge = stage.client.login_challenge(&fingerprint, None).await;
    report.tell("the phone asks to sign in", seen(&challenge, |_| "challenge".to_owned()), (200, "challenge"));
    let challenge = challenge?;
    let foreign = DeviceSigner::generate(&SystemEntropy)?.sign(&plain(&challenge.text)?);
    let stranger = stage.client.login(challenge.session_id, &foreign, true).await;
    report.tell("somebody else's key signs it", seen(&stranger, |_| "tokens".to_owned()), (401, "RL-1401"));
    let tokens = stage.client.login(challenge.session_id, &phone.key.sign(&plain(&challenge.text)?), true).await;
    let got =
        seen(&tokens, |tokens| if tokens.refresh_token.is_some() { "tokens" } else { "no refresh token" }.to_owned());
    report.tell("Linh's phone signs it", got, (200, "tokens"));
    let tokens = tokens?;
    let push = Sensitive::new("demo-push-token".to_owned());
    let set = stage.client.set_push_token(Credential::Bearer(&tokens.access_token), &push, None).await;
    report.tell("the phone says where it is notified", seen(&set, |_| "noted".to_owned()), (200, "noted"));
    Ok(tokens)
}

/// Usage example 3: an action that Linh starts on the web is approved on the phone, and its token redeemed once.
async fn confirm(
    stage: &Stage,
    report: &mut PhoneReport,
    (web, phone, tokens): (&Sensitive<String>, &Handset, &Tokens),
) -> anyhow::Result<()> {
    let client = &stage.client;
    let payload: Map<String, Value> =
        [("amount", json!(50_000)), ("currency", json!("VND")), ("recipient", json!("Nguyễn Văn A"))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
    let action = InitiateAction {
        action_type: "payment_approval".parse()?,
        action_payload: payload.clone(),
        language: Some(Language::Vi),
        display_code: true,
        callback_url: None,
        requested_expiry_seconds: None,
    };
    let started = client.initiate(web, &action).await;
    let got = seen(&started, |started| format!("{}, {} device told", word(started.status), started.notified_devices));
    report.tell("Linh starts a payment of 50.000 ₫ on the web", got, (200, "pending, 1 device told"));
    let started = started?;
    let credential = Credential::Bearer(&tokens.access_token);
    let waits = client.pending(credential).await;
    report.tell("the phone looks what waits", seen(&waits, |waits| format!("{} waits", waits.len())), (200, "1 waits"));
    let waits = waits?;
    let shown: &Confirmation = waits.first().context("nothing waits for the phone")?;
    let challenge = shown.challenge.clone().context("the phone was given no challenge")?;
    let is_shown = approves(&challenge, &shown.action_payload)? && shown.action_payload == payload;
    let got = (200, if is_shown { "it approves what is shown" } else { "it approves something else" }.to_owned());
    report.tell("the phone checks the challenge", got, (200, "it approves what is shown"));
    let signed = phone.key.sign(&plain(&challenge)?);
    let id = started.confirmation_id;
    let blind = client.verify(credential, id, phone.device, &signed, None).await;
    report.tell("approved without the code on the screen", seen(&blind, |end| word(end.status)), (422, "RL-1411"));
    let code = started.display_code.context("no display code")?;
    let approved = client.verify(credential, id, phone.device, &signed, Some(code.expose())).await;
    report.tell("Linh types the code and approves", seen(&approved, |end| word(end.status)), (200, "approved"));
    let status = client.status(Credential::Bearer(web), id, Duration::from_secs(10)).await;
    let got = seen(&status, |end| {
        let token = if end.confirmation_token.is_some() { ", token given" } else { "" };
        format!("{}{token}", word(end.status))
    });
    report.tell("the web page asks how far it is", got, (200, "approved, token given"));
    let token = status?.confirmation_token.context("no confirmation token")?;
    let redeemed = client.redeem(web, id, &token).await;
    report.tell("the token is redeemed", seen(&redeemed, |_| "redeemed".to_owned()), (200, "redeemed"));
    let again = client.redeem(web, id, &token).await;
    report.tell("the token is redeemed once more", seen(&again, |_| "redeemed".to_owned()), (409, "RL-1407"));
    Ok(())
}

/// Whether a challenge ends in the digest of the payload.
fn approves(challenge: &Sensitive<String>, payload: &Map<String, Value>) -> anyhow::Result<bool> {
    let bytes = URL_SAFE_NO_PAD.decode(challenge.expose()).context("the challenge is no base64url")?;
    let digest = action_digest("payment_approval", &Value::Object(payload.clone()).to_string())?;
    Ok(bytes.ends_with(&digest))
}

fn word(state: ConfirmationState) -> String {
    state.to_string()
}

/// Usage example 4, and a theft: an old refresh token comes back.
async fn theft(stage: &Stage, report: &mut PhoneReport, stolen: Tokens) -> anyhow::Result<()> {
    let first = stolen.refresh_token.context("no refresh token")?;
    let second = stage.client.refresh(&first, None).await;
    report.tell("the phone refreshes its session", seen(&second, |_| "new tokens".to_owned()), (200, "new tokens"));
    let second = second?.refresh_token.context("no refresh token")?;
    let thief = stage.client.refresh(&first, None).await;
    report.tell("a thief brings the old refresh token", seen(&thief, |_| "new tokens".to_owned()), (401, "RL-1401"));
    let owner = stage.client.refresh(&second, None).await;
    report.tell("the phone's session is over too", seen(&owner, |_| "new tokens".to_owned()), (401, "RL-1401"));
    let devices = stage.client.devices(Credential::Bearer(&stolen.access_token)).await;
    report.tell("so is its access token", seen(&devices, |_| "devices".to_owned()), (401, "RL-1401"));
    let severity = critical(stage).await?;
    report.tell("the audit log has a critical event", (200, severity), (200, "refresh_token_reused, critical"));
    Ok(())
}

/// What the audit log says of the theft.
async fn critical(stage: &Stage) -> anyhow::Result<String> {
    let mut tail = stage.log.tail(&stage.audit, TailStart::Beginning).await.context("the audit topic")?;
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let Some(delivery) = tail.deliveries.recv().await else { bail!("the tail of the audit topic ended") };
            let Delivery::Record { record, .. } = delivery else { continue };
            let Some(value) = &record.value else { continue };
            let audit: Audit = ridgeline_wire::decode(value)?;
            let (Some(reason), Some(details)) = (&audit.reason, &audit.details) else { continue };
            if reason != "refresh_token_reused" {
                continue;
            }
            let details = stage.vault.open(Purpose::Field, &Aad::new("audit", &audit.event_id, "details"), details)?;
            let details: AuditDetails = ridgeline_wire::decode(details.expose())?;
            let is_critical = details.severity == Severity::Critical;
            return Ok(format!("{reason}, {}", if is_critical { "critical" } else { details.severity.as_str() }));
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_) => Ok("none".to_owned()),
    }
}
