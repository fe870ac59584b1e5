//! Users of the service's own: who may sign in with e-mail and password. No path holds an address, and no answer a password.

use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use ridgeline_domain::{ErrorCode, Sensitive};
use ridgeline_identity::{EMAIL_RULE, normalised_email};
use ridgeline_ports::{Cas, RowKey};
use ridgeline_vault::password;
use ridgeline_wire::auth_row::{UserRow, table};
use serde::{Deserialize, Serialize};

use super::{PAGE_ROWS, read};
use crate::gateway::{Shared, State};
use crate::problem::Problem;
use crate::scan::json_response;
use crate::text::rfc3339;

const ROLES_MAX: usize = 32;
const ROLE_CHARS_MAX: usize = 64;
const DEPARTMENT_CHARS_MAX: usize = 100;
/// Operators who change one user at once.
const RACES_MAX: usize = 8;

#[derive(Serialize)]
struct UserView {
    id: String,
    email: String,
    roles: Vec<String>,
    department: Option<String>,
    disabled: bool,
    created_at: String,
}

impl From<UserRow> for UserView {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.user_id,
            email: row.email,
            roles: row.roles,
            department: row.department,
            disabled: row.disabled,
            created_at: rfc3339(row.created_at),
        }
    }
}

/// `GET /admin/users`
pub(crate) async fn list(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let (mut users, mut from) = (Vec::new(), None);
    loop {
        let page = state.parts.store.scan(table::USERS, from.as_ref(), PAGE_ROWS).await?;
        for (_, row) in &page.rows {
            users.push(UserView::from(ridgeline_wire::decode::<UserRow>(&row.value)?));
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    users.sort_by(|a, b| a.email.cmp(&b.email));
    Ok(json_response(StatusCode::OK, &users))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
    password: String,
    #[serde(default)]
    roles: Vec<String>,
    department: Option<String>,
}

/// `POST /admin/users`
pub(crate) async fn add(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let NewUser { email, password, mut roles, department } = read(&state, request).await?;
    let password = Sensitive::new(password);
    let email = address(&email)?;
    roles.sort_unstable();
    roles.dedup();
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let is_role = |role: &String| (1..=ROLE_CHARS_MAX).contains(&role.len()) && role.chars().all(is_word);
    if roles.len() > ROLES_MAX || !roles.iter().all(is_role) {
        return Err(wrong("/roles", "must be at most 32 words of 1 to 64 letters, digits and _ - . :"));
    }
    let is_name = |name: &String| {
        (1..=DEPARTMENT_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control)
    };
    if !department.as_ref().is_none_or(is_name) {
        return Err(wrong("/department", "must have 1 to 100 characters and no control characters"));
    }
    let mut id = [0; 16];
    state.parts.entropy.fill(&mut id);
    let row = UserRow {
        user_id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        password: hashed(&state, password).await?,
        email,
        roles,
        department,
        disabled: false,
        created_at: state.parts.clock.now(),
    };
    let value: Bytes = ridgeline_wire::encode(&row)?.into();
    match state.parts.store.insert_new(table::USERS, &RowKey::single(&row.email), value.clone(), None).await? {
        Cas::Applied(_) => {}
        // Our own write whose answer was lost.
        Cas::Conflict(Some(there)) if there.value == value => {}
        Cas::Conflict(_) => {
            return Err(wrong("/email", "is taken: set that user's password, or enable the user, instead"));
        }
    }
    tracing::info!(user_id = row.user_id, "user added");
    Ok(json_response(StatusCode::CREATED, &UserView::from(row)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserChange {
    email: String,
    disabled: Option<bool>,
    password: Option<String>,
}

/// `PATCH /admin/users`: what is absent stays.
pub(crate) async fn change(Extract(state): Extract<State>, request: Request) -> Result<Response, Problem> {
    let UserChange { email, disabled, password } = read(&state, request).await?;
    let password = password.map(Sensitive::new);
    let key = RowKey::single(address(&email)?);
    if disabled.is_none() && password.is_none() {
        return Err(Problem::malformed("name what changes: disabled or password"));
    }
    let unknown = || Problem::new(ErrorCode::NotFound, "there is no user of this e-mail address; add the user first");
    let mut held = state.parts.store.get(table::USERS, &key).await?;
    if held.is_none() {
        return Err(unknown());
    }
    let hash = match password {
        Some(password) => Some(hashed(&state, password).await?),
        None => None,
    };
    for _ in 0..RACES_MAX {
        let current = held.ok_or_else(unknown)?;
        let mut row: UserRow = ridgeline_wire::decode(&current.value)?;
        row.disabled = disabled.unwrap_or(row.disabled);
        row.password = hash.clone().unwrap_or(row.password);
        let value = ridgeline_wire::encode(&row)?.into();
        match state.parts.store.replace(table::USERS, &key, current.version, value, None).await? {
            Cas::Applied(_) => {
                let what = if hash.is_some() { "password" } else { "access" };
                tracing::info!(user_id = row.user_id, disabled = row.disabled, what, "user changed");
                return Ok(json_response(StatusCode::OK, &UserView::from(row)));
            }
            Cas::Conflict(row) => held = row,
        }
    }
    Err(Problem::unavailable("the user is being changed by others"))
}

fn wrong(pointer: &str, detail: &str) -> Problem {
    Problem::field(ErrorCode::MalformedRequest, pointer, detail)
}

fn address(text: &str) -> Result<String, Problem> {
    normalised_email(text).ok_or_else(|| wrong("/email", EMAIL_RULE))
}

/// Takes tens of milliseconds and megabytes by design, so it queues for a CPU thread.
async fn hashed(shared: &Shared, password: Sensitive<String>) -> Result<String, Problem> {
    let (min, max) = (password::PASSWORD_BYTES_MIN, password::PASSWORD_BYTES_MAX);
    if !(min..=max).contains(&password.expose().len()) {
        return Err(wrong("/password", &format!("must have between {min} and {max} bytes")));
    }
    let entropy = shared.parts.entropy.clone();
    Ok(shared.parts.cpu.run(move || password::hash(&password, entropy.as_ref())).await??)
}
