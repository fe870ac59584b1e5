//! The calls. Every answer is checked: a proxy's page in place of an answer is an error, never an empty registry.

use std::fmt;

use ridgeline_egress::{Answer, Configured, ConfiguredOptions, Method};
use serde_json::{Value, json};

use crate::RegistryError;

/// Media type of requests and answers.
const MEDIA: &str = "application/vnd.schemaregistry.v1+json";
/// Characters of a refusal that are told on.
const DETAIL_CHARS_MAX: usize = 300;
/// `error_code` of a subject, version, schema or level that is not there: 404 and two digits. A path that is not there has `404`.
const NOT_THERE: std::ops::Range<u64> = 40_401..40_500;

/// An id that the registry gave to a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryId(pub u32);

impl fmt::Display for RegistryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A schema under a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// Id in front of values.
    pub id: RegistryId,
    /// Number under the subject, from 1.
    pub version: u32,
}

/// What the registry demands of a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// Readers with the new version read what was written with any older one.
    BackwardTransitive,
    /// Nothing.
    None,
    /// Something else, in the registry's word.
    Other(String),
}

impl Level {
    /// The registry's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::None => "NONE",
            Self::Other(word) => word,
        }
    }

    fn of(word: &str) -> Self {
        [Self::BackwardTransitive, Self::None]
            .into_iter()
            .find(|level| level.as_str() == word)
            .unwrap_or_else(|| Self::Other(word.chars().filter(char::is_ascii_graphic).take(40).collect()))
    }
}

/// A registry. Subjects are named like topics, so they need no escapes in a path.
#[derive(Debug, Clone)]
pub struct Registry {
    http: Configured,
}

impl Registry {
    /// A client of the registry whose interface begins at the base address, for instance `https://registry:8081` or
    /// `http://registry:8080/apis/ccompat/v7`. Connects with the first call.
    ///
    /// # Errors
    /// `Exchange`, for an address, a login or certificates that cannot be used.
    pub fn new(options: ConfiguredOptions) -> Result<Self, RegistryError> {
        let accept = "application/vnd.schemaregistry.v1+json, application/json";
        Ok(Self { http: Configured::new(ConfiguredOptions { accept, ..options })? })
    }

    /// The configured address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.http.address()
    }

    /// The newest version of a subject.
    ///
    /// # Errors
    /// As every call: `Exchange`, `Refused`, `Garbled`.
    pub async fn latest(&self, subject: &str) -> Result<Option<Registered>, RegistryError> {
        let call = self.call(Method::Get, format!("/subjects/{subject}/versions/latest"), "show the newest version");
        call.found(None, registered).await
    }

    /// The text of a schema by id.
    ///
    /// # Errors
    /// As every call.
    pub async fn schema(&self, id: RegistryId) -> Result<Option<String>, RegistryError> {
        let call = self.call(Method::Get, format!("/schemas/ids/{id}"), "show a schema");
        call.found(None, |answer| answer.get("schema")?.as_str().map(str::to_owned)).await
    }

    /// Where this schema is registered under a subject.
    ///
    /// # Errors
    /// As every call.
    pub async fn find(&self, subject: &str, schema: &str) -> Result<Option<Registered>, RegistryError> {
        let call = self.call(Method::Post, format!("/subjects/{subject}"), "look a schema up");
        call.found(Some(avro(schema)), registered).await
    }

    /// Registers a schema under a subject; one that is there keeps its id. `None`: refused as not compatible.
    ///
    /// # Errors
    /// As every call.
    pub async fn add(&self, subject: &str, schema: &str) -> Result<Option<RegistryId>, RegistryError> {
        let call = self.call(Method::Post, format!("/subjects/{subject}/versions"), "register a schema");
        let answer = call.send(Some(avro(schema))).await?;
        if answer.status == 409 {
            return Ok(None);
        }
        call.read(&answer, id).map(Some)
    }

    /// Whether a schema may follow the versions of a subject, by the subject's level. `None`: no such subject.
    ///
    /// # Errors
    /// As every call.
    pub async fn compatible(&self, subject: &str, schema: &str) -> Result<Option<bool>, RegistryError> {
        let path = format!("/compatibility/subjects/{subject}/versions");
        let call = self.call(Method::Post, path, "compare a schema with older ones");
        call.found(Some(avro(schema)), |answer| answer.get("is_compatible")?.as_bool()).await
    }

    /// The level that is in force for a subject.
    ///
    /// # Errors
    /// As every call.
    pub async fn level(&self, subject: &str) -> Result<Option<Level>, RegistryError> {
        let call =
            self.call(Method::Get, format!("/config/{subject}?defaultToGlobal=true"), "show a compatibility level");
        call.found(None, level).await
    }

    /// Sets the level of a subject.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_level(&self, subject: &str, wanted: &Level) -> Result<(), RegistryError> {
        let call = self.call(Method::Put, format!("/config/{subject}"), "set a compatibility level");
        let answer = call.send(Some(json!({ "compatibility": wanted.as_str() }))).await?;
        call.read(&answer, level).map(|_| ())
    }

    /// Removes a subject, if it is there.
    ///
    /// # Errors
    /// As every call.
    pub async fn remove(&self, subject: &str) -> Result<(), RegistryError> {
        let call = self.call(Method::Delete, format!("/subjects/{subject}"), "remove a subject");
        call.found(None, |answer| answer.as_array().map(|_| ())).await.map(|_| ())
    }

    fn call(&self, method: Method, path: String, what: &'static str) -> Call<'_> {
        Call { http: &self.http, method, path, what }
    }
}

/// One exchange.
struct Call<'a> {
    http: &'a Configured,
    method: Method,
    path: String,
    /// Continues "refuses to".
    what: &'static str,
}

impl Call<'_> {
    async fn send(&self, body: Option<Value>) -> Result<Answer, RegistryError> {
        let body = body.map(|body| (MEDIA, body.to_string().into_bytes()));
        Ok(self.http.exchange(self.method, &self.path, body).await?)
    }

    /// `None` where the registry says that there is nothing.
    async fn found<T>(
        &self,
        body: Option<Value>,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, RegistryError> {
        let answer = self.send(body).await?;
        if answer.status == 404
            && parsed(&answer).and_then(|body| code(&body)).is_some_and(|code| NOT_THERE.contains(&code))
        {
            return Ok(None);
        }
        self.read(&answer, read).map(Some)
    }

    fn read<T>(&self, answer: &Answer, read: impl Fn(&Value) -> Option<T>) -> Result<T, RegistryError> {
        let address = || self.http.address().to_owned();
        let body = parsed(answer);
        if answer.status == 200 {
            let garbled = || RegistryError::Garbled { address: address(), what: self.what };
            return body.as_ref().and_then(read).ok_or_else(garbled);
        }
        let words = body.as_ref().and_then(|body| body.get("message")).and_then(Value::as_str);
        let words = words.map(|words| words.chars().filter(|char| !char.is_control()).take(DETAIL_CHARS_MAX));
        let detail = words.map(|words| format!(": {}", words.collect::<String>())).unwrap_or_default();
        Err(RegistryError::Refused { address: address(), what: self.what, status: answer.status, detail })
    }
}

fn parsed(answer: &Answer) -> Option<Value> {
    serde_json::from_slice(&answer.body).ok()
}

fn avro(schema: &str) -> Value {
    json!({ "schemaType": "AVRO", "schema": schema })
}

fn code(answer: &Value) -> Option<u64> {
    answer.get("error_code")?.as_u64()
}

fn number(answer: &Value, member: &str) -> Option<u32> {
    u32::try_from(answer.get(member)?.as_u64()?).ok()
}

fn id(answer: &Value) -> Option<RegistryId> {
    number(answer, "id").map(RegistryId)
}

fn registered(answer: &Value) -> Option<Registered> {
    Some(Registered { id: id(answer)?, version: number(answer, "version")? })
}

/// Registries disagree on which of the two names stands in which answer.
fn level(answer: &Value) -> Option<Level> {
    let word = answer.get("compatibilityLevel").or_else(|| answer.get("compatibility"))?;
    word.as_str().map(Level::of)
}
