//! A call: where it comes from, how often, and whose it is.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use ridgeline_domain::{ErrorCode, RequestId, Sensitive, Timestamp, UserId};
use ridgeline_identity::revocation::Subjects;
use ridgeline_identity::{DeviceCaller, IdentityError, UserCaller};
use ridgeline_ports::TraceContext;
use ridgeline_vault::dpop::{DpopProof, Expected};
use ridgeline_vault::request_digest;
use ridgeline_wire::auth::AuthBody;

use super::fields::Fields;
use super::rate::{CallerKey, Category};
use super::{BODY_BYTES_MAX, DeviceAuth, address};
use crate::body::{Incoming, media_type};
use crate::gateway::Shared;
use crate::problem::Problem;

const DPOP: &str = "dpop";
/// Longest proof; what is longer verifies nowhere.
const PROOF_BYTES_MAX: usize = 8 << 10;

/// A request on its way through.
pub(super) struct Call {
    parts: Parts,
    address: IpAddr,
    pub(super) now: Timestamp,
}

/// Who may be held to a rate.
pub(super) enum Limited<'a> {
    User(&'a UserId),
    /// An e-mail address in its one spelling.
    Email(&'a str),
    /// A refresh token family.
    Family(String),
    /// A device's fingerprint.
    Fingerprint(&'a str),
}

/// How a token came.
struct Credential<'a> {
    token: &'a str,
    is_bound: bool,
}

/// Who calls where a user may, and a device too.
pub(super) enum Caller {
    User(UserCaller),
    Device(DeviceCaller),
}

impl Caller {
    pub(super) const fn user(&self) -> &UserId {
        match self {
            Self::User(caller) => &caller.user,
            Self::Device(caller) => &caller.user,
        }
    }
}

fn refused() -> Problem {
    Problem::plain(ErrorCode::CredentialRefused)
}

impl Call {
    /// The call, and its body as it comes in.
    pub(super) fn of(shared: &Shared, request: Request) -> (Self, Incoming) {
        let (parts, body) = request.into_parts();
        let incoming = Incoming::new(&parts.headers, body);
        let trusted = shared.auth.as_ref().map_or(&[][..], |auth| &auth.parts.trusted_proxies);
        let address = address::of(&parts, trusted);
        (Self { parts, address, now: shared.parts.clock.now() }, incoming)
    }

    /// Lets the call in: device authentication is there, log and store answer, and the address has not called too often.
    pub(super) fn admit<'s>(&self, shared: &'s Shared, category: Category) -> Result<&'s DeviceAuth, Problem> {
        let auth = shared.device_auth()?;
        let site = address::site(self.address);
        self.count(shared, category, [b"address".as_slice(), &site])?;
        shared.admit()?;
        Ok(auth)
    }

    /// Counts the call against somebody.
    pub(super) fn limit(&self, shared: &Shared, category: Category, whom: &Limited<'_>) -> Result<(), Problem> {
        let (kind, text) = match whom {
            Limited::User(user) => ("user", user.as_str()),
            Limited::Email(email) => ("email", *email),
            Limited::Family(family) => ("family", family.as_str()),
            Limited::Fingerprint(fingerprint) => ("fingerprint", *fingerprint),
        };
        let proven = matches!(whom, Limited::User(_) | Limited::Family(_));
        let limits = &shared.device_auth()?.limits;
        if proven {
            return limits.count(category, self.key(shared, [kind.as_bytes(), text.as_bytes()]), self.now);
        }
        // Nobody has proven to be whom an e-mail address or a fingerprint names. Who guesses waits longer and longer; its owner, who
        // calls from elsewhere, only shares its rate.
        limits.count_unblocked(category, self.key(shared, [kind.as_bytes(), text.as_bytes()]), self.now)?;
        let here = [text.as_bytes(), &address::site(self.address)].concat();
        limits.count(category, self.key(shared, [kind.as_bytes(), &here]), self.now)
    }

    fn count(&self, shared: &Shared, category: Category, whom: [&[u8]; 2]) -> Result<(), Problem> {
        shared.device_auth()?.limits.count(category, self.key(shared, whom), self.now)
    }

    fn key(&self, shared: &Shared, [kind, whom]: [&[u8]; 2]) -> CallerKey {
        let digest = request_digest(&shared.parts.vault, [b"rate".as_slice(), kind, whom]);
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// The user of a web token.
    pub(super) async fn user(&self, auth: &DeviceAuth) -> Result<UserCaller, Problem> {
        let credential = self.credential()?;
        if credential.is_bound {
            return Err(refused());
        }
        let caller = auth.parts.identity.user(credential.token, self.now).await?;
        self.unrevoked(auth, &caller).await?;
        Ok(caller)
    }

    async fn unrevoked(&self, auth: &DeviceAuth, caller: &UserCaller) -> Result<(), Problem> {
        let subjects = Subjects { user: &caller.user, device: None, family: None, issued_at: caller.issued_at };
        if auth.revocations.is_revoked(&subjects).await? { Err(refused()) } else { Ok(()) }
    }

    /// The user of a web token, or the device of an access token that is not revoked.
    pub(super) async fn user_or_device(&self, shared: &Shared, auth: &DeviceAuth) -> Result<Caller, Problem> {
        let credential = self.credential()?;
        if !credential.is_bound {
            match auth.parts.identity.user(credential.token, self.now).await {
                Ok(caller) => {
                    self.unrevoked(auth, &caller).await?;
                    return Ok(Caller::User(caller));
                }
                Err(IdentityError::Refused(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        let caller = auth.parts.identity.device(credential.token, self.now).await?;
        // A token that is bound to a key says so in its scheme, and only such a one.
        if caller.thumbprint.is_some() != credential.is_bound {
            return Err(refused());
        }
        let proof = caller.thumbprint.as_deref().map(|thumbprint| self.prove(shared, credential.token, thumbprint));
        let proof = proof.transpose()?;
        let subjects = Subjects {
            user: &caller.user,
            device: Some(&caller.device),
            family: caller.family.as_ref(),
            issued_at: caller.issued_at,
        };
        if auth.revocations.is_revoked(&subjects).await? {
            return Err(refused());
        }
        if let Some(proof) = proof {
            auth.proofs.use_up(proof, self.now)?;
        }
        Ok(Caller::Device(caller))
    }

    /// Checks the proof of possession that comes with an access token.
    fn prove(&self, shared: &Shared, token: &str, thumbprint: &str) -> Result<ridgeline_vault::dpop::ProofId, Problem> {
        let proof = self.only(DPOP).ok_or_else(refused)?;
        let url = format!("{}{}", shared.parts.public_url, self.parts.uri.path());
        let expected = Expected {
            method: self.parts.method.as_str(),
            url: &url,
            now: self.now,
            access_token: Some(token),
            thumbprint,
        };
        DpopProof::verify(proof, &expected).map_err(|_| refused())
    }

    fn credential(&self) -> Result<Credential<'_>, Problem> {
        let value = self.only(header::AUTHORIZATION.as_str()).ok_or_else(refused)?;
        let (scheme, token) = value.split_once(' ').ok_or_else(refused)?;
        let is_bound = scheme.eq_ignore_ascii_case(DPOP);
        if !is_bound && !scheme.eq_ignore_ascii_case("bearer") {
            return Err(refused());
        }
        Ok(Credential { token: token.trim(), is_bound })
    }

    /// The header of this name, if it is there once and is text.
    fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.parts.headers.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        value.to_str().ok()
    }

    /// The body's fields.
    pub(super) async fn fields(&self, shared: &Shared, incoming: &mut Incoming) -> Result<Fields, Problem> {
        if incoming.is_declared_empty() {
            return Err(Problem::malformed("the body is empty"));
        }
        if media_type(&self.parts.headers).as_deref() != Some("application/json") {
            return Err(Problem::new(ErrorCode::UnsupportedMediaType, "send application/json"));
        }
        let (bytes, _room) = incoming.read(shared, BODY_BYTES_MAX).await?;
        // It may hold a password or, by mistake, a private key.
        let bytes = Sensitive::new(Vec::from(bytes));
        Fields::read(bytes)
    }

    /// What every command says of its caller: where from, and the credentials as they were sent.
    pub(super) fn body(&self) -> AuthBody {
        AuthBody {
            credential: self.credential().ok().map(|credential| credential.token.to_owned()),
            proof: self.only(DPOP).filter(|proof| proof.len() <= PROOF_BYTES_MAX).map(str::to_owned),
            address: self.address.to_string(),
            user_agent: address::user_agent(&self.parts.headers),
            ..AuthBody::default()
        }
    }

    /// The trace of the request.
    pub(super) fn trace(&self, id: RequestId) -> TraceContext {
        self.parts.extensions.get::<TraceContext>().copied().unwrap_or_else(|| TraceContext::about(id))
    }
}

/// The answer; what is left of a refused call's body is read away first.
pub(super) async fn end(incoming: Incoming, answer: Result<Response, Problem>) -> Result<Response, Problem> {
    if answer.is_err() {
        incoming.discard().await;
    }
    answer
}
