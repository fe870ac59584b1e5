//! The auth worker: consumes `auth.commands`; registers devices, signs them in, rotates tokens, and carries actions to their approval.
//! The only one that signs tokens.
//!
//! Every command is judged at its append time, by the credential that it carries itself. The order is that of all workers: conditional
//! writes on the aggregate, each of which leaves the request's mark → the answer (first one wins) → revocations → audit → decision.

mod action;
mod caller;
mod command;
mod devices;
mod due;
mod heartbeat;
mod login;
mod mint;
mod refresh;
mod register;
mod revoke;
mod rows;
mod settle;
mod signing;
mod web;

pub(crate) use action::notice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use ridgeline_domain::{AgentId, AuthOperation, ErrorCode, Refusal, TrustPolicy};
use ridgeline_flow::auth::ApprovalPolicy;
use ridgeline_identity::{Identity, IdentityError};
use ridgeline_intake::CommandSealer;
use ridgeline_ports::{Disposition, Partition, Record, StoreError};
use ridgeline_runtime::{Ending, Handler, Poison, StepError, run};
use ridgeline_vault::command::{CommandKey, CommandOpener};
use ridgeline_vault::token::TokenKey;
use ridgeline_vault::{DeviceKey, order_seal};
use ridgeline_wire::Topic;
use ridgeline_wire::action::Notice;
use ridgeline_wire::auth::{AuthReply, Revocation};
use tokio_util::sync::CancellationToken;

use crate::platform::{Platform, WorkerError};
use crate::refusal;
use command::Command;
use settle::About;
use signing::SigningKeys;

/// How often a lost race is gathered again before the record backs off.
const RACES_MAX: usize = 8;

/// What an auth worker needs beside the platform.
#[derive(Clone)]
pub struct AuthParts {
    /// Opens commands.
    pub opener: CommandOpener,
    /// Seals the worker's own: what is due.
    pub commands: CommandKey,
    /// Who publishes those.
    pub sender: AgentId,
    /// Checks callers' credentials.
    pub identity: Identity,
    /// Rules.
    pub config: AuthConfig,
}

/// The rules of device authentication.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// `iss` of our tokens, and issuer of the service's own users.
    pub issuer: String,
    /// Address under which callers reach the service, without a slash at the end: proofs of possession name it.
    pub public_url: String,
    /// When a session is trusted how much.
    pub trust: TrustPolicy,
    /// Who must approve which actions.
    pub approvals: ApprovalPolicy,
    /// Whether callbacks may lead to this machine's and network's own addresses, and be plain HTTP.
    pub private_callbacks: bool,
}

/// Runs an auth worker until `stop`.
///
/// # Errors
/// When the log refuses for good or a step is fatal; the process should stop.
pub async fn run_auth(
    platform: Arc<Platform>,
    parts: AuthParts,
    member: &str,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    let health = platform.health.component("auth");
    let spec = platform.spec("auth", Topic::AuthCommands, member);
    let ports = platform.ports("auth");
    let keys = SigningKeys::new(platform.clone());
    // Gateways show and trust it before the first token comes. One that cannot be made now is made with that token.
    if let Err(error) = keys.at(platform.clock.now()).await {
        tracing::warn!(error = %error, "the keys that sign tokens could not be read yet");
    }
    let nobodys = TokenKey::generate(&*platform.entropy)?.public().key().clone();
    let topic = Topic::AuthCommands.name(&platform.prefix);
    let partitions = platform.log.partitions(&topic).await?;
    let sealer = CommandSealer { commands: parts.commands.clone(), sender: parts.sender.clone(), topic };
    let auth = Arc::new(Auth {
        platform,
        parts,
        keys,
        nobodys,
        sealer,
        partitions,
        sweeping: Mutex::default(),
        owned: Mutex::default(),
    });
    let beats = heartbeat::run(auth.clone(), stop.clone());
    let sweeps = due::run(auth.clone(), stop.clone());
    let (ended, (), ()) = tokio::join!(
        async {
            let ended = run(spec, ports, auth.clone(), health, stop.clone()).await;
            // The heartbeat ends with the worker, however that ends.
            stop.cancel();
            ended
        },
        beats,
        sweeps
    );
    Ok(ended?)
}

struct Auth {
    platform: Arc<Platform>,
    parts: AuthParts,
    keys: SigningKeys,
    /// A key whose private half was thrown away: candidates that do not exist are checked against it.
    nobodys: DeviceKey,
    /// Seals commands of the worker's own.
    sealer: CommandSealer,
    /// How many partitions `auth.commands` has.
    partitions: u32,
    /// Up to which minute what is due was looked through, of partitions that are ours.
    sweeping: Mutex<BTreeMap<Partition, i64>>,
    /// Partitions of `auth.commands` that are ours; who has the first one beats.
    owned: Mutex<BTreeSet<Partition>>,
}

/// Why a command did not come to its end.
enum Halt {
    /// It is refused, with what its caller may know of the reason.
    Refused(Refusal, Option<String>),
    /// Another request changed a row in between.
    Raced,
    /// There is nothing to do and nobody to answer.
    Nothing,
    /// It cannot be judged now.
    Step(StepError),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal, None)
    }
}

impl From<StepError> for Halt {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Step(error.into())
    }
}

/// A credential that does not verify refuses the command; keys that cannot be had now do not.
fn credential(error: IdentityError) -> Halt {
    match (&error, error.disposition()) {
        (IdentityError::Refused(_), _) => Refusal::BadCredential.into(),
        (_, Disposition::Retry) => Halt::Step(StepError::Retry(error.to_string())),
        (_, Disposition::Poison) => Halt::Step(StepError::poison(ErrorCode::Internal, error.to_string())),
        (_, Disposition::Fatal) => Halt::Step(StepError::Fatal(error.to_string())),
    }
}

/// One command in work: what it is about and what must be revoked gathers on the way.
struct Work<'a> {
    auth: &'a Auth,
    command: &'a Command,
    about: About,
    follows: Follows,
}

/// What is published beside audit and decision.
#[derive(Default)]
struct Follows {
    revocations: Vec<Revocation>,
    notices: Vec<Notice>,
}

#[async_trait]
impl Handler for Auth {
    async fn handle(&self, record: Arc<Record>) -> Result<Ending, StepError> {
        self.platform.log_time.observe(record.append_time);
        let command = Command::open(self, &record)?;
        if let Some(row) = settle::find(&self.platform, command.id).await? {
            self.is_done(&command).await?;
            settle::emit(&self.platform, &row, &command.trace).await?;
            return Ok(Ending::Done);
        }
        for _ in 0..RACES_MAX {
            let mut work = Work { auth: self, command: &command, about: About::default(), follows: Follows::default() };
            let reply = match work.perform().await {
                Ok(reply) => reply,
                Err(Halt::Refused(refusal, detail)) => {
                    AuthReply { refusal: Some(refusal), detail, ..AuthReply::default() }
                }
                Err(Halt::Raced) => continue,
                Err(Halt::Nothing) => return Ok(Ending::Done),
                Err(Halt::Step(error)) => return Err(error),
            };
            let Work { about, follows, .. } = work;
            settle::settle(&self.platform, &command, &reply, &about, follows).await?;
            return Ok(Ending::Done);
        }
        Err(StepError::Retry("other requests keep changing the same rows".to_owned()))
    }

    async fn poisoned(&self, record: Arc<Record>, poison: &Poison) -> Result<(), StepError> {
        // Whoever can write to the topic can seal a command: nobody vouches for it, so nothing is stored under its id.
        refusal::audit(&self.platform, &record, poison.code).await
    }

    fn assigned(&self, partitions: &[Partition]) {
        self.owned.lock().extend(partitions);
    }

    fn released(&self, partitions: &[Partition]) {
        self.owned.lock().retain(|partition| !partitions.contains(partition));
    }
}

impl Work<'_> {
    async fn perform(&mut self) -> Result<AuthReply, Halt> {
        match self.command.operation {
            AuthOperation::RegisterChallenge => self.register_challenge().await,
            AuthOperation::Register => self.register().await,
            AuthOperation::LoginChallenge => self.login_challenge().await,
            AuthOperation::Login => self.login().await,
            AuthOperation::Refresh => self.refresh().await,
            AuthOperation::RemoveDevice => self.remove_device().await,
            AuthOperation::SetPushToken => self.set_push_token().await,
            AuthOperation::WebLogin => self.web_login().await,
            AuthOperation::InitiateAction => self.initiate().await,
            AuthOperation::ApproveAction => self.approve().await,
            AuthOperation::RejectAction => self.reject().await,
            AuthOperation::RedeemAction => self.redeem().await,
            AuthOperation::ReceiveAction => self.receive().await,
            AuthOperation::Expire => self.expire().await,
            AuthOperation::Revoke => self.revoke_by_order().await,
            AuthOperation::ExportEvidence => self.export_evidence().await,
        }
    }

    /// Only who holds the deployment's keys can seal an operator's order.
    fn ordered(&self, kind: &str, id: &str) -> Result<(), Halt> {
        let sealed = order_seal(&self.auth.platform.vault, self.command.id, kind, id);
        let is_sealed = self.command.body.credential.as_deref() == Some(sealed.as_str());
        if is_sealed { Ok(()) } else { Err(Refusal::BadCredential.into()) }
    }

    /// A field that the operation cannot do without; the gateway has checked that it is there.
    fn needed<'b, T>(&self, field: &'b Option<T>) -> Result<&'b T, Halt> {
        field.as_ref().ok_or_else(|| {
            let detail = "the command lacks what its operation needs";
            Halt::Step(StepError::poison(ErrorCode::RecordInvalid, detail))
        })
    }
}
