//! Users of the service's own, as operators see them.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use ridgeline_domain::Sensitive;
use ridgeline_ports::RowKey;
use ridgeline_vault::password;
use ridgeline_wire::auth_row::{UserRow, table};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::harness::{Answer, Site};

const PATH: &str = "/admin/users";
const PASSWORD: &str = "correct horse battery";

fn an() -> Value {
    json!({ "email": "An.Nguyen@Example.VN", "password": PASSWORD, "roles": ["approver", "teller"], "department": "Quầy 2" })
}

async fn stored(site: &Site, email: &str) -> UserRow {
    let row = site.memory.store().get(table::USERS, &RowKey::single(email)).await.unwrap().unwrap();
    ridgeline_wire::decode(&row.value).unwrap()
}

fn opens(row: &UserRow, typed: &str) -> bool {
    password::verify(&row.password, &Sensitive::new(typed.to_owned()))
}

#[tokio::test]
async fn users_are_added_listed_and_changed_and_their_passwords_never_come_back() {
    let site = Site::open().await;
    let added = site.admin(Method::POST, PATH, Some(an())).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    assert_eq!((&added.json["email"], &added.json["department"]), (&json!("an.nguyen@example.vn"), &json!("Quầy 2")));
    assert_eq!((&added.json["roles"], &added.json["disabled"]), (&json!(["approver", "teller"]), &json!(false)));
    let id = added.json["id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let row = stored(&site, "an.nguyen@example.vn").await;
    assert!(opens(&row, PASSWORD) && !opens(&row, "correct horse") && row.user_id == id);

    let second = json!({ "email": "binh@example.vn", "password": PASSWORD });
    assert_eq!(site.admin(Method::POST, PATH, Some(second)).await.status, StatusCode::CREATED);
    let other = stored(&site, "binh@example.vn").await;
    assert!(other.password != row.password && other.user_id != row.user_id, "salted, and an id of its own");
    let listed = site.admin(Method::GET, PATH, None).await;
    let emails: Vec<_> = listed.json.as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect();
    assert_eq!(emails, ["an.nguyen@example.vn", "binh@example.vn"]);

    let change = async |body: Value| site.admin(Method::PATCH, PATH, Some(body)).await;
    let disabled = change(json!({ "email": "AN.nguyen@example.vn", "disabled": true })).await;
    assert_eq!((disabled.status, &disabled.json["disabled"]), (StatusCode::OK, &json!(true)));
    let changed = change(json!({ "email": "an.nguyen@example.vn", "password": "another password" })).await;
    let row = stored(&site, "an.nguyen@example.vn").await;
    assert!(row.disabled && opens(&row, "another password") && !opens(&row, PASSWORD));
    let enabled = change(json!({ "email": "an.nguyen@example.vn", "disabled": false })).await;
    let now = stored(&site, "an.nguyen@example.vn").await;
    assert!(!now.disabled && now.password == row.password && now.user_id == id && now.roles == row.roles);
    for answer in [added, listed, disabled, changed, enabled] {
        assert!(!answer.text.contains("password") && !answer.text.contains("argon2"), "{}", answer.text);
    }
}

#[tokio::test]
async fn what_is_no_user_is_refused_with_its_reason_and_changes_nothing() {
    let site = Site::open().await;
    let with = |field: &str, value: Value| {
        let mut body = an();
        body[field] = value;
        body
    };
    let role = |role: &str| with("roles", json!([role]));
    let many: Vec<String> = (0..33).map(|number| format!("r{number}")).collect();
    for (field, body) in [
        ("/email", with("email", json!("nobody"))),
        ("/email", with("email", json!("a@b@c"))),
        ("/email", with("email", json!("a b@c"))),
        ("/email", with("email", json!("a\u{0}@c"))),
        ("/email", with("email", json!(format!("{}@example.vn", "a".repeat(254))))),
        ("/password", with("password", json!("seven77"))),
        ("/password", with("password", json!("p".repeat(1_025)))),
        ("/roles", role("")),
        ("/roles", role("a b")),
        ("/roles", role("quản-trị")),
        ("/roles", role(&"r".repeat(65))),
        ("/roles", with("roles", json!(many))),
        ("/department", with("department", json!(""))),
        ("/department", with("department", json!("a\nb"))),
        ("/department", with("department", json!("d".repeat(101)))),
    ] {
        let refused = site.admin(Method::POST, PATH, Some(body)).await;
        refused.is_problem(400, "RL-1001");
        assert_eq!(refused.pointers(), [field]);
        assert!(!refused.text.contains(PASSWORD) && !refused.text.contains("seven77"), "{}", refused.text);
    }
    site.admin(Method::POST, PATH, Some(with("id", json!("mine")))).await.is_problem(400, "RL-1001");
    assert_eq!(site.admin(Method::GET, PATH, None).await.json, json!([]));

    site.admin(Method::POST, PATH, Some(an())).await;
    let before = stored(&site, "an.nguyen@example.vn").await;
    let taken = site.admin(Method::POST, PATH, Some(with("password", json!("taken over now")))).await;
    taken.is_problem(400, "RL-1001");
    assert!(taken.text.contains("is taken"), "{}", taken.text);
    for (status, code, body) in [
        (400, "RL-1001", json!({ "email": "an.nguyen@example.vn" })),
        (400, "RL-1001", json!({ "email": "an.nguyen@example.vn", "password": "short" })),
        (400, "RL-1001", json!({ "email": "an.nguyen@example.vn", "roles": ["admin"] })),
        (400, "RL-1001", json!({ "disabled": true })),
        (404, "RL-1303", json!({ "email": "nobody@example.vn", "disabled": true })),
    ] {
        site.admin(Method::PATCH, PATH, Some(body)).await.is_problem(status, code);
    }
    assert!(stored(&site, "an.nguyen@example.vn").await == before);
}

#[tokio::test]
async fn without_the_admin_key_there_are_no_users() {
    let site = Site::open().await;
    for method in [Method::GET, Method::POST, Method::PATCH] {
        let request = Request::builder().method(method).uri(PATH).header("content-type", "application/json");
        let request = request.body(Body::from(an().to_string())).unwrap();
        let answer = Answer::of(site.gateway.admin_router().oneshot(request).await.unwrap()).await;
        answer.is_problem(401, "RL-1301");
    }
    assert_eq!(site.admin(Method::GET, PATH, None).await.json, json!([]));
}
