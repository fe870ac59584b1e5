//! How often callers of device authentication may call. The buckets themselves are tested beside their code.

use axum::http::Method;
use ridgeline_domain::DurationMs;
use ridgeline_testkit::covers;
use serde_json::json;

use crate::auth::{is_refused, registration, signed};
use crate::auth_site::{AuthSite, bearer, call, from};

/// How many of these pass before one is told to wait.
async fn passing(site: &AuthSite, request: impl Fn(usize) -> axum::http::Request<axum::body::Body>) -> usize {
    for number in 0..200 {
        let answer = site.send(request(number)).await;
        if answer.status == 429 {
            is_refused(&answer, 429, "RL-1405");
            return number;
        }
    }
    panic!("nothing is limited");
}

#[tokio::test]
async fn an_address_has_its_rate_for_each_kind_of_call() {
    covers!("R-150");
    let site = AuthSite::limited(&[]).await;
    let path = "/devices/register/verify";
    assert_eq!(passing(&site, |_| call(Method::POST, path, None, Some(&signed()))).await, 10);
    let path = "/mobile/biometric";
    assert_eq!(passing(&site, |_| call(Method::POST, path, None, Some(&signed()))).await, 20);
    let token = bearer(&site.web());
    assert_eq!(passing(&site, |_| call(Method::GET, "/devices", Some(&token), None)).await, 60);
    // Another address is another caller; a header that nobody vouches for is not.
    let elsewhere = from("192.0.2.8", call(Method::POST, path, None, Some(&signed())));
    assert_eq!(site.send(elsewhere).await.status, 200);
    let mut claimed = call(Method::POST, path, None, Some(&signed()));
    claimed.headers_mut().insert("x-forwarded-for", "203.0.113.1".parse().unwrap());
    assert_eq!(site.send(claimed).await.status, 429);
}

#[tokio::test]
async fn the_wait_is_told_and_doubles_for_who_comes_back_too_fast() {
    let site = AuthSite::limited(&[]).await;
    let clock = site.site.memory.clock();
    let body = signed();
    let send = || site.post("/devices/register/verify", None, &body);
    for _ in 0..10 {
        assert_eq!(send().await.status, 201);
    }
    assert_eq!(send().await.headers["retry-after"], "60");
    clock.advance(DurationMs::from_secs(61));
    let mut passed = 0;
    let waits = loop {
        let answer = send().await;
        if answer.status == 429 {
            break answer.headers["retry-after"].clone();
        }
        passed += 1;
        assert!(passed < 10);
    };
    assert_eq!((passed, waits.to_str().unwrap()), (5, "120"));
    clock.advance(DurationMs::from_secs(121 + 240));
    assert_eq!(send().await.status, 201, "forgiven");
}

#[tokio::test]
async fn who_calls_from_many_addresses_is_held_by_what_it_calls_for() {
    let site = AuthSite::limited(&[]).await;
    let address = |number: usize| format!("198.51.100.{number}");
    let login = |number: usize| {
        // One spelling of an address is as good as another.
        let email = if number.is_multiple_of(2) { "an@example.vn" } else { "AN@Example.VN" };
        let body = json!({ "email": email, "password": "guess" });
        from(&address(number), call(Method::POST, "/login", None, Some(&body)))
    };
    assert_eq!(passing(&site, login).await, 20);
    let body = json!({ "deviceFingerprint": "f" });
    let challenge =
        |number: usize| from(&address(number + 50), call(Method::POST, "/mobile/challenge", None, Some(&body)));
    assert_eq!(passing(&site, challenge).await, 20);
    let body = json!({ "refreshToken": site.refresh() });
    let refresh =
        |number: usize| from(&address(number + 100), call(Method::POST, "/mobile/refresh", None, Some(&body)));
    assert_eq!(passing(&site, refresh).await, 20);
    let (token, body) = (bearer(&site.web()), registration());
    let path = "/devices/register/challenge";
    let register = |number: usize| from(&address(number + 150), call(Method::POST, path, Some(&token), Some(&body)));
    assert_eq!(passing(&site, register).await, 10);
    // One site has a network of IPv6.
    let site = AuthSite::limited(&[]).await;
    let verify = |number: usize| {
        let request = call(Method::POST, "/devices/register/verify", None, Some(&signed()));
        from(&format!("2001:db8::{:x}", number + 1), request)
    };
    assert_eq!(passing(&site, verify).await, 10);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_caller_has_its_own() {
    let site = AuthSite::limited(&["192.0.2.0/24"]).await;
    let sent = |caller: &str| {
        let mut request = call(Method::POST, "/devices/register/verify", None, Some(&signed()));
        request.headers_mut().insert("x-forwarded-for", caller.parse().unwrap());
        request
    };
    assert_eq!(passing(&site, |_| sent("203.0.113.1")).await, 10);
    assert_eq!(site.send(sent("203.0.113.2")).await.status, 201);
    assert_eq!(site.last().body.address, "203.0.113.2");
}

#[tokio::test]
async fn refused_calls_count_too() {
    let site = AuthSite::limited(&[]).await;
    let token = bearer("not.a.token");
    let body = registration();
    let path = "/devices/register/challenge";
    assert_eq!(passing(&site, |_| call(Method::POST, path, Some(&token), Some(&body))).await, 10);
}
