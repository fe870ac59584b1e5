//! Operators: API keys, agents and users. Behind `X-Admin-Key`, on a port of its own.

pub(crate) mod security;
pub(crate) mod users;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ridgeline_domain::{AgentId, ErrorCode, Operation, Permission};
use ridgeline_ports::{Cas, RowKey};
use ridgeline_vault::{ApiKey, VaultError, VerifyingKey};
use ridgeline_wire::row::{ApiKeyRow, table};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::body::{Incoming, media_type};
use crate::gateway::{Shared, State};
use crate::problem::Problem;
use crate::scan::{json_at, json_response};
use crate::text::rfc3339;

const BODY_BYTES_MAX: usize = 64 << 10;
const NAME_CHARS_MAX: usize = 100;
const PAGE_ROWS: usize = 500;

/// Lets a request through if it carries the admin key. Compares digests, so that neither content nor length shows in time.
pub(crate) async fn guard(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let mut given = request.headers().get_all("x-admin-key").iter();
    let given = match (given.next(), given.next()) {
        (Some(value), None) => Some(Sha256::digest(value.as_bytes())),
        _ => None,
    };
    let right = state.parts.admin_key.as_ref().map(|key| Sha256::digest(key.expose().as_bytes()));
    match (given, right) {
        (Some(given), Some(right)) if bool::from(given.as_slice().ct_eq(right.as_slice())) => next.run(request).await,
        _ => Problem::new(ErrorCode::Unauthenticated, "send the admin key in the header X-Admin-Key").into_response(),
    }
}

#[derive(Serialize)]
struct KeyView {
    id: String,
    name: String,
    permissions: Vec<&'static str>,
    created_at: String,
    revoked: bool,
    /// Shown once, when the key is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl KeyView {
    fn new(id: &str, row: &ApiKeyRow) -> Self {
        Self {
            id: id.to_owned(),
            name: row.name.clone(),
            permissions: row.permissions.iter().map(|permission| permission.as_str()).collect(),
            created_at: rfc3339(row.created_at),
            revoked: row.revoked,
            key: None,
        }
    }
}

/// `GET /admin/keys`
pub(crate) async fn list_keys(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let (mut keys, mut from) = (Vec::new(), None);
    loop {
        let page = state.parts.store.scan(table::API_KEYS, from.as_ref(), PAGE_ROWS).await?;
        for (key, row) in &page.rows {
            keys.push(KeyView::new(&key.partition, &ridgeline_wire::decode(&row.value)?));
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    keys.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    Ok(json_response(StatusCode::OK, &keys))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    permissions: Vec<String>,
}

/// `POST /admin/keys`: the only answer that holds the secret.
pub(crate) async fn create_key(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let body: NewKey = read(&state, request).await?;
    let wrong = |pointer: &str, detail: String| Problem::field(ErrorCode::MalformedRequest, pointer, detail);
    let valid_name =
        (1..=NAME_CHARS_MAX).contains(&body.name.chars().count()) && !body.name.chars().any(char::is_control);
    if !valid_name {
        return Err(wrong("/name", format!("must have between 1 and {NAME_CHARS_MAX} characters")));
    }
    let permissions = body.permissions.iter().map(|word| word.parse::<Permission>());
    let mut permissions: Vec<_> =
        permissions.collect::<Result<_, _>>().map_err(|error| wrong("/permissions", error.to_string()))?;
    permissions.sort_unstable();
    permissions.dedup();
    if permissions.is_empty() {
        return Err(wrong("/permissions", "at least one permission is required".to_owned()));
    }
    let key = ApiKey::generate(state.parts.entropy.as_ref())?;
    let row = ApiKeyRow {
        name: body.name,
        digest: key.digest().as_bytes().to_vec(),
        permissions,
        created_at: state.parts.clock.now(),
        revoked: false,
    };
    let value = ridgeline_wire::encode(&row)?.into();
    match state.parts.store.insert_new(table::API_KEYS, &RowKey::single(key.id().as_str()), value, None).await? {
        Cas::Applied(_) => {}
        Cas::Conflict(_) => return Err(Problem::unavailable("the key's id is taken; try again")),
    }
    tracing::info!(key_id = %key.id(), "API key made");
    let view = KeyView { key: Some(key.reveal().expose().clone()), ..KeyView::new(key.id().as_str(), &row) };
    Ok(json_response(StatusCode::CREATED, &view))
}

/// `DELETE /admin/keys/{id}`: the key is refused from now on; its row stays.
pub(crate) async fn revoke_key(
    Extract(state): Extract<State>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = path.map_err(|_| Problem::not_found())?;
    let id: ridgeline_domain::ApiKeyId = id.parse().map_err(|_| Problem::not_found())?;
    let key = RowKey::single(id.as_str());
    let mut held = state.parts.store.get(table::API_KEYS, &key).await?;
    // Nothing but a revocation changes the row, so a conflict is another revocation.
    for _ in 0..3 {
        let current = held.ok_or_else(Problem::not_found)?;
        let mut row: ApiKeyRow = ridgeline_wire::decode(&current.value)?;
        if row.revoked {
            return Ok(json_response(StatusCode::OK, &KeyView::new(id.as_str(), &row)));
        }
        row.revoked = true;
        let value = ridgeline_wire::encode(&row)?.into();
        match state.parts.store.replace(table::API_KEYS, &key, current.version, value, None).await? {
            Cas::Applied(_) => {
                tracing::info!(key_id = %id, "API key revoked");
                return Ok(json_response(StatusCode::OK, &KeyView::new(id.as_str(), &row)));
            }
            Cas::Conflict(row) => held = row,
        }
    }
    Err(Problem::unavailable("the key is being changed by others"))
}

#[derive(Serialize)]
struct AgentView {
    id: String,
    public_key: String,
    operations: Vec<&'static str>,
}

fn agent_view(shared: &Shared, id: &AgentId) -> Option<AgentView> {
    let agents = shared.parts.agents.read();
    let key = agents.key(id)?;
    let operations = Operation::ALL.iter().filter(|operation| agents.allows(id, **operation));
    Some(AgentView {
        id: id.to_string(),
        public_key: key.to_string(),
        operations: operations.map(|operation| operation.as_str()).collect(),
    })
}

/// `GET /admin/agents`
pub(crate) async fn list_agents(Extract(state): Extract<State>) -> Response {
    let ids: Vec<AgentId> = state.parts.agents.read().ids().cloned().collect();
    let agents: Vec<_> = ids.iter().filter_map(|id| agent_view(&state, id)).collect();
    json_response(StatusCode::OK, &agents)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAgent {
    id: String,
    public_key: String,
    operations: Vec<String>,
}

/// `POST /admin/agents`: refused if the id is taken: an agent's key is never replaced in place.
pub(crate) async fn add_agent(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let body: NewAgent = read(&state, request).await?;
    let wrong = |pointer: &str, detail: String| Problem::field(ErrorCode::MalformedRequest, pointer, detail);
    let id: AgentId = body.id.parse().map_err(|error: ridgeline_domain::IdError| wrong("/id", error.to_string()))?;
    let key: VerifyingKey =
        body.public_key.parse().map_err(|error: VaultError| wrong("/public_key", error.to_string()))?;
    let operations = body.operations.iter().map(|word| word.parse::<Operation>());
    let operations: Vec<_> =
        operations.collect::<Result<_, _>>().map_err(|error| wrong("/operations", error.to_string()))?;
    let taken = || wrong("/id", "an agent of that id is registered already".to_owned());
    if state.parts.agents.read().key(&id).is_some() {
        return Err(taken());
    }
    if let Some(book) = state.parts.agent_book.clone() {
        let (id, operations) = (id.clone(), operations.clone());
        let written = tokio::task::spawn_blocking(move || book.add(&id, &key, &operations)).await;
        written.map_err(|error| Problem::internal(&error))?.map_err(|error| Problem::internal(&error))?;
    }
    state.parts.agents.write().insert(id.clone(), key, operations).map_err(|_| taken())?;
    tracing::info!(agent = %id, "agent registered");
    let view = agent_view(&state, &id).ok_or_else(Problem::not_found)?;
    Ok(json_response(StatusCode::CREATED, &view))
}

async fn read<T: for<'de> Deserialize<'de>>(shared: &Shared, request: Request) -> Result<T, Problem> {
    let headers: &HeaderMap = request.headers();
    if media_type(headers).as_deref() != Some("application/json") {
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, "send application/json"));
    }
    let (parts, body) = request.into_parts();
    let (bytes, _room) = Incoming::new(&parts.headers, body).read(shared, BODY_BYTES_MAX).await?;
    json_at("", &bytes)
}
