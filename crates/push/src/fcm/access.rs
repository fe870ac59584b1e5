//! The token that requests carry: asked for by one caller at a time and kept while it is good.

use std::sync::Arc;

use ridgeline_domain::{DurationMs, Sensitive, Timestamp};
use ridgeline_egress::{Answer, Configured, Method};
use ridgeline_ports::{Clock, PushError};
use serde_json::Value;
use tokio::sync::Mutex;

use super::account::ServiceAccount;
use super::answer::unanswered;
use super::wait::retry_after;

const WHOSE: &str = "the token endpoint";
const FORM: &str = "application/x-www-form-urlencoded";
/// Our words, escaped as a form wants it (RFC 7523, 4).
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
/// A token is not used in its last minute: the request is on its way meanwhile, and clocks differ.
const SPARE_MS: i64 = 60_000;
/// No token is believed to live longer.
const LIFE_S_MAX: i64 = 86_400;
/// Longest token. Google's have up to 2 KiB.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Nobody asks again so soon after a refusal: all waiting callers would, one after the other.
const PAUSE_MS: i64 = 2_000;
/// The longest pause that a refusal can ask for.
const PAUSE_MS_MAX: i64 = 300_000;

/// A token and which one it is.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: Arc<Sensitive<String>>,
    number: u64,
}

pub(super) struct Access {
    account: ServiceAccount,
    http: Configured,
    clock: Arc<dyn Clock>,
    /// Held while one caller asks.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token: Option<(Token, Timestamp)>,
    /// The last refusal, and until when it is given to everybody.
    refusal: Option<(PushError, Timestamp)>,
    fetched: u64,
}

impl Access {
    pub(super) fn new(account: ServiceAccount, http: Configured, clock: Arc<dyn Clock>) -> Self {
        Self { account, http, clock, kept: Mutex::default() }
    }

    /// A token that is good for a minute more, at least if the endpoint gives such.
    pub(super) async fn token(&self) -> Result<Token, PushError> {
        let mut kept = self.kept.lock().await;
        self.kept_or_new(&mut kept).await
    }

    /// Another one than `refused`.
    pub(super) async fn token_after(&self, refused: &Token) -> Result<Token, PushError> {
        let mut kept = self.kept.lock().await;
        kept.token.take_if(|(token, _)| token.number == refused.number);
        self.kept_or_new(&mut kept).await
    }

    async fn kept_or_new(&self, kept: &mut Kept) -> Result<Token, PushError> {
        let now = self.clock.now();
        if let Some((token, _)) = kept.token.as_ref().filter(|(_, until)| now < *until) {
            return Ok(token.clone());
        }
        if let Some((refusal, _)) = kept.refusal.as_ref().filter(|(_, until)| now < *until) {
            return Err(refusal.clone());
        }
        match self.fetch(now).await {
            Ok((text, life_s)) => {
                kept.fetched += 1;
                let token = Token { text: Arc::new(text), number: kept.fetched };
                let until = now.plus(DurationMs(life_s * 1_000 - SPARE_MS));
                (kept.token, kept.refusal) = (Some((token.clone(), until)), None);
                Ok(token)
            }
            Err(refusal) => {
                let asked = if let PushError::Later { after: Some(after), .. } = &refusal { after.0 } else { 0 };
                let until = self.clock.now().plus(DurationMs(asked.clamp(PAUSE_MS, PAUSE_MS_MAX)));
                kept.refusal = Some((refusal.clone(), until));
                Err(refusal)
            }
        }
    }

    /// A token and how many seconds it lives from `now` on.
    async fn fetch(&self, now: Timestamp) -> Result<(Sensitive<String>, i64), PushError> {
        let assertion = self.account.assertion(now);
        let assertion =
            assertion.map_err(|_| PushError::Later { after: None, what: "no token can be signed for".to_owned() })?;
        let form = format!("{GRANT}{}", assertion.expose()).into_bytes();
        let answer = self.http.exchange(Method::Post, "", Some((FORM, form))).await;
        let answer = answer.map_err(|error| unanswered(WHOSE, &error))?;
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        if answer.status != 200 {
            return Err(self.refused(&answer, &body));
        }
        let unreadable = || self.later(&answer, format!("the answer of {WHOSE} holds no token"));
        granted(body).ok_or_else(unreadable)
    }

    fn refused(&self, answer: &Answer, body: &Value) -> PushError {
        let code = body.get("error").and_then(Value::as_str);
        let why = match code {
            Some("invalid_grant") => ": the key is revoked, the account is gone or this machine's clock is wrong",
            Some("invalid_client" | "unauthorized_client") => ": the account is not known",
            Some("invalid_scope" | "access_denied") => ": the account may not send messages",
            _ => "",
        };
        self.later(answer, format!("{WHOSE} answers with HTTP {}{why}", answer.status))
    }

    fn later(&self, answer: &Answer, what: String) -> PushError {
        PushError::Later { after: retry_after(answer, self.clock.now()), what }
    }
}

fn granted(mut body: Value) -> Option<(Sensitive<String>, i64)> {
    let Value::String(token) = body.get_mut("access_token")?.take() else { return None };
    let token = Sensitive::new(token);
    let text = token.expose();
    let is_token = (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let life_s = body.get("expires_in")?.as_i64().filter(|life_s| *life_s > 0)?;
    is_token.then(|| (token, life_s.min(LIFE_S_MAX)))
}
