//! What tokens say, as plain values and as JSON.

use ridgeline_domain::{ActionId, Binding, DeviceId, FamilyId, SessionId, Timestamp, TrustLevel};
use serde_json::{Map, Value, json};

use super::TokenError;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A user of the service's own, signed in on the web.
    Web,
    /// A session on a device.
    Access,
    /// The next tokens of a session.
    Refresh,
    /// One confirmed action.
    Action,
}

impl TokenKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Web, Self::Access, Self::Refresh, Self::Action];

    /// The header's `typ`.
    #[must_use]
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Web | Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
            Self::Action => "act+jwt",
        }
    }

    /// The claim `aud`.
    #[must_use]
    pub const fn aud(self) -> &'static str {
        match self {
            Self::Web => "ridgeline:web",
            Self::Access => "ridgeline:device",
            Self::Refresh => "ridgeline:refresh",
            Self::Action => "ridgeline:action",
        }
    }
}

/// The claims of a token; absent ones are left out of it. Times are written in whole seconds.
///
/// No `Debug`: an e-mail address and roles are nobody's business in a log.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// For whom it is.
    pub aud: String,
    /// The user.
    pub sub: String,
    /// When it was issued.
    pub iat: Timestamp,
    /// When it is over.
    pub exp: Timestamp,
    /// Its own id.
    pub jti: String,
    /// The device.
    pub device_id: Option<DeviceId>,
    /// How the user signed in.
    pub auth_method: Option<String>,
    /// What the session is worth.
    pub trust_level: Option<TrustLevel>,
    /// The session.
    pub session_id: Option<SessionId>,
    /// Methods (RFC 8176).
    pub amr: Vec<String>,
    /// Class of the authentication.
    pub acr: Option<String>,
    /// Whether a key must be proven with it.
    pub binding: Option<Binding>,
    /// Thumbprint of that key (`cnf.jkt`, RFC 9449).
    pub cnf_jkt: Option<String>,
    /// The refresh token family.
    pub token_family: Option<FamilyId>,
    /// The generation in it.
    pub rotation_count: Option<u32>,
    /// The confirmed action.
    pub confirmation_id: Option<ActionId>,
    /// Its kind.
    pub action_type: Option<String>,
    /// Makes it unique.
    pub nonce: Option<String>,
    /// Of a user.
    pub email: Option<String>,
    /// Of a user.
    pub roles: Vec<String>,
    /// The client it was issued to.
    pub azp: Option<String>,
    /// The client it was issued to, by another name.
    pub client_id: Option<String>,
    /// The web session.
    pub sid: Option<String>,
}

/// Longest text of a claim that is read; for `sub` OpenID Connect Core says so, 2.
const TEXT_BYTES_MAX: usize = 255;
/// Most entries of a list: roles, methods.
const LIST_ENTRIES_MAX: usize = 128;

impl Claims {
    /// As the JSON of a token, members in the order of their names.
    pub(super) fn to_json(&self) -> Value {
        let mut all = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                all.insert(name.to_owned(), value);
            }
        };
        let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
        let list = |values: &[String]| (!values.is_empty()).then(|| json!(values));
        put("iss", Some(json!(self.iss)));
        put("aud", Some(json!(self.aud)));
        put("sub", Some(json!(self.sub)));
        put("iat", Some(json!(self.iat.millis().div_euclid(1_000))));
        put("exp", Some(json!(self.exp.millis().div_euclid(1_000))));
        put("jti", Some(json!(self.jti)));
        put("device_id", self.device_id.map(|id| json!(id.to_string())));
        put("auth_method", text(&self.auth_method));
        put("trust_level", self.trust_level.map(|level| json!(level.as_str())));
        put("session_id", self.session_id.map(|id| json!(id.to_string())));
        put("amr", list(&self.amr));
        put("acr", text(&self.acr));
        put("binding", self.binding.map(|binding| json!(binding.as_str())));
        put("cnf", self.cnf_jkt.as_ref().map(|jkt| json!({ "jkt": jkt })));
        put("token_family", self.token_family.map(|id| json!(id.to_string())));
        put("rotation_count", self.rotation_count.map(|count| json!(count)));
        put("confirmation_id", self.confirmation_id.map(|id| json!(id.to_string())));
        put("action_type", text(&self.action_type));
        put("nonce", text(&self.nonce));
        put("email", text(&self.email));
        put("roles", list(&self.roles));
        put("azp", text(&self.azp));
        put("client_id", text(&self.client_id));
        put("sid", text(&self.sid));
        Value::Object(all)
    }

    /// From the JSON of a verified token of our own; `aud` is compared elsewhere and given here.
    pub(super) fn of_ours(json: &Map<String, Value>, aud: &str) -> Result<Self, TokenError> {
        let text = |name: &str| text(json, name);
        let cnf_jkt = match json.get("cnf") {
            None => None,
            Some(Value::Object(cnf)) => Some(needed(cnf, "jkt")?),
            Some(_) => return Err(TokenError::Claims),
        };
        let rotation_count = match json.get("rotation_count") {
            None => None,
            Some(count) => Some(count.as_u64().and_then(|count| u32::try_from(count).ok()).ok_or(TokenError::Claims)?),
        };
        Ok(Self {
            jti: needed(json, "jti")?,
            device_id: word(text("device_id")?)?,
            auth_method: text("auth_method")?,
            trust_level: word(text("trust_level")?)?,
            session_id: word(text("session_id")?)?,
            binding: word(text("binding")?)?,
            cnf_jkt,
            token_family: word(text("token_family")?)?,
            rotation_count,
            confirmation_id: word(text("confirmation_id")?)?,
            action_type: text("action_type")?,
            nonce: text("nonce")?,
            ..Self::of_anyone(json, aud)?
        })
    }

    /// What any issuer may say. Devices, sessions and trust are ours to name: a provider's claims of these names are not read,
    /// whatever they hold.
    ///
    /// A token that is bound to a key (`cnf`, RFC 7800) is refused: no proof is asked of a provider's users, and without one
    /// such a token is worth nothing.
    pub(super) fn of_provider(json: &Map<String, Value>, aud: &str) -> Result<Self, TokenError> {
        if json.contains_key("cnf") {
            return Err(TokenError::Claims);
        }
        Self::of_anyone(json, aud)
    }

    fn of_anyone(json: &Map<String, Value>, aud: &str) -> Result<Self, TokenError> {
        let text = |name: &str| text(json, name);
        Ok(Self {
            iss: needed(json, "iss")?,
            aud: aud.to_owned(),
            sub: needed(json, "sub")?,
            iat: seconds(json, "iat")?.ok_or(TokenError::Claims)?,
            exp: seconds(json, "exp")?.ok_or(TokenError::Claims)?,
            jti: text("jti")?.unwrap_or_default(),
            amr: texts(json, "amr")?,
            acr: text("acr")?,
            email: text("email")?,
            roles: texts(json, "roles")?,
            azp: text("azp")?,
            client_id: text("client_id")?,
            sid: text("sid")?,
            ..Self::default()
        })
    }
}

/// A text, if it is there.
fn text(json: &Map<String, Value>, name: &str) -> Result<Option<String>, TokenError> {
    match json.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= TEXT_BYTES_MAX => Ok(Some(text.clone())),
        Some(_) => Err(TokenError::Claims),
    }
}

/// A text that must be there and say something.
fn needed(json: &Map<String, Value>, name: &str) -> Result<String, TokenError> {
    text(json, name)?.filter(|text| !text.is_empty()).ok_or(TokenError::Claims)
}

fn word<T: std::str::FromStr>(text: Option<String>) -> Result<Option<T>, TokenError> {
    text.map(|text| text.parse().map_err(|_| TokenError::Claims)).transpose()
}

/// A list of texts, or nothing.
fn texts(json: &Map<String, Value>, name: &str) -> Result<Vec<String>, TokenError> {
    let items = match json.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= LIST_ENTRIES_MAX => items,
        Some(_) => return Err(TokenError::Claims),
    };
    let text = |item: &Value| item.as_str().filter(|text| text.len() <= TEXT_BYTES_MAX).map(ToOwned::to_owned);
    items.iter().map(|item| text(item).ok_or(TokenError::Claims)).collect()
}

/// A `NumericDate`: seconds since the epoch, up to the year 9999; fractions are cut off.
pub(crate) fn seconds(json: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, TokenError> {
    const LAST: i64 = 253_402_300_799;
    let Some(value) = json.get(name) else { return Ok(None) };
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked below, and a cast of a float saturates")]
    let whole = value.as_i64().or_else(|| value.as_f64().map(|number| number.floor() as i64));
    let whole = whole.filter(|whole| (0..=LAST).contains(whole)).ok_or(TokenError::Claims)?;
    Ok(Some(Timestamp::from_millis(whole * 1_000)))
}
