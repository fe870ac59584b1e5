//! The outermost layer: request id, refusals, security headers, access log, metrics, and a last net under panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use axum::response::Response;
use futures::FutureExt as _;
use ridgeline_domain::ErrorCode;
use ridgeline_ports::TraceContext;
use ridgeline_runtime::metric;
use tokio::time::Instant;

use crate::gateway::State;
use crate::problem::{Form, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The label of a request in logs and answers. Keys nothing: the confirmation id is another id.
#[derive(Debug, Clone)]
pub(crate) struct RequestLabel(pub(crate) Arc<str>);

/// Wraps every answer, of routes and fallbacks alike.
pub(crate) async fn outermost(Extract(state): Extract<State>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let label = RequestLabel(request_label(&state, request.headers()));
    let route: Arc<str> =
        request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".into(), |path| path.as_str().into());
    let method = method_word(request.method());
    let form = Form::of(request.uri().path());
    request.extensions_mut().insert(label.clone());
    let trace = trace(&state, request.headers());
    request.extensions_mut().insert(trace);

    // Probes and the pages about the interface are answered however busy the service is.
    let place = route.starts_with("/api/").then(|| state.reserve_request()).transpose();
    let handled = async {
        match place {
            Ok(_held) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    let answer = AssertUnwindSafe(handled).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| {
        tracing::error!(route = &*route, request_id = &*label.0, "a handler panicked");
        Problem::new(ErrorCode::Internal, "the request could not be processed").into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        state.refusals.count(problem.code());
        let mut rendered = problem.render(form, &state.parts.public_url, &label.0);
        if let Some(allow) = response.headers().get(header::ALLOW) {
            rendered.headers_mut().insert(header::ALLOW, allow.clone());
        }
        response = rendered;
    }
    finish_headers(response.headers_mut(), &label.0);

    let status = response.status().as_u16();
    let elapsed = begun.elapsed();
    let labels = [("route", route.to_string()), ("method", method.to_owned())];
    metrics::histogram!(metric::HTTP_DURATION, &labels).record(elapsed);
    let [route_label, method_label] = labels;
    metrics::counter!(metric::HTTP_REQUESTS, &[route_label, method_label, ("status", status.to_string())]).increment(1);
    // Probes ask every few seconds; they are counted, not logged.
    if !route.starts_with("/health") {
        tracing::info!(
            target: "ridgeline::access",
            method,
            route = &*route,
            status,
            duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            request_id = &*label.0,
            trace_id = trace.trace_id(),
        );
    }
    response
}

/// The caller's id if it is one: 1–128 printable characters of ASCII without space; else a fresh one.
fn request_label(state: &State, headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let valid = given
        .filter(|id| (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
    valid.map_or_else(|| state.parts.entropy.request_id().to_string().into(), Into::into)
}

/// The caller's trace if its header is valid, else a new one.
fn trace(state: &State, headers: &HeaderMap) -> TraceContext {
    let mut given = headers.get_all(TraceContext::HEADER).iter();
    let only = given.next().filter(|_| given.next().is_none());
    let trace = only.and_then(|value| TraceContext::parse(value.as_bytes()));
    trace.unwrap_or_else(|| TraceContext::random(state.parts.entropy.as_ref()))
}

/// Labels come from a closed set, so that callers cannot make new time series.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

fn finish_headers(headers: &mut HeaderMap, label: &str) {
    if let Ok(value) = HeaderValue::from_str(label) {
        headers.insert(REQUEST_ID, value);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_XSS_PROTECTION, "1; mode=block"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
