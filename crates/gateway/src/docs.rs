//! `/openapi.json`, `/asyncapi.json`, `/docs` and the pages of the error codes, as self-contained HTML.

mod markdown;
mod reference;

use std::sync::LazyLock;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::asyncapi::{self, Deployment};
use crate::gateway::State;
use crate::openapi::document;
use crate::problem::Problem;
use crate::scan::json_response;

macro_rules! pages {
    ($($code:literal)+) => {
        /// The committed pages, by code.
        const PAGES: &[(&str, &str)] = &[$(($code, include_str!(concat!("../../../docs/errors/", $code, ".md"))),)+];
    };
}

pages! {
    "RL-1001" "RL-1002" "RL-1003" "RL-1004" "RL-1101" "RL-1102" "RL-1103" "RL-1104" "RL-1105" "RL-1201" "RL-1202"
    "RL-1301" "RL-1302" "RL-1303" "RL-1304" "RL-1401" "RL-1402" "RL-1403" "RL-1404" "RL-1405"
    "RL-1406" "RL-1407" "RL-1408" "RL-1409" "RL-1410" "RL-1411" "RL-3001" "RL-3002" "RL-3003" "RL-3004" "RL-3005" "RL-3006" "RL-3007"
    "RL-3008" "RL-5001" "RL-5002"
}

static OPENAPI: LazyLock<String> = LazyLock::new(|| document().to_string());
static REFERENCE: LazyLock<String> = LazyLock::new(|| frame("Ridgeline API", &reference::render(&document())));

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--link:#2563eb}\
body{font:16px/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1.5rem}\
h1{font-size:1.8rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}\
a{color:var(--link)}code,pre{font:0.9em ui-monospace,monospace}\
code{background:var(--soft);padding:.1em .3em;border-radius:.3em}\
pre{background:var(--soft);padding:.8rem;overflow:auto;border-radius:.5em}pre code{background:none;padding:0}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line)}\
section{border:1px solid var(--line);border-radius:.6rem;padding:.2rem 1rem 1rem;margin:1rem 0}\
.method{display:inline-block;min-width:4.2em;font-weight:700}nav li{margin:.15rem 0}";

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], OPENAPI.as_str()).into_response()
}

/// `GET /asyncapi.json`
pub(crate) async fn asyncapi(Extract(state): Extract<State>) -> Response {
    let parts = &state.parts;
    let (prefix, public_url, schemas) = (parts.prefix.as_str(), parts.public_url.as_str(), parts.schemas);
    json_response(StatusCode::OK, &asyncapi::document(Deployment { prefix, public_url, schemas }))
}

/// `GET /docs`
pub(crate) async fn page() -> Response {
    html(REFERENCE.clone())
}

/// `GET /docs/errors/{code}`
pub(crate) async fn error_page(path: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let code = path.map(|Path(code)| code).unwrap_or_default();
    let (code, text) = PAGES.iter().find(|(known, _)| *known == code).ok_or_else(Problem::not_found)?;
    let body = format!("<p><a href=\"/docs\">Ridgeline API</a></p>{}", markdown::render(text));
    Ok(html(frame(code, &body)))
}

fn html(page: String) -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
    ];
    (StatusCode::OK, headers, page).into_response()
}

fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>{STYLE}</style></head><body>{body}</body></html>",
        escape(title)
    )
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, char| {
        match char {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
        html
    })
}

#[cfg(test)]
mod tests {
    use ridgeline_domain::ErrorCode;

    use super::*;

    #[test]
    fn every_code_has_its_page() {
        let pages: Vec<_> = PAGES.iter().map(|(code, _)| *code).collect();
        let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(pages, codes);
    }

    #[test]
    fn the_reference_shows_every_path_and_every_code_and_loads_nothing() {
        let page = REFERENCE.as_str();
        for path in document()["paths"].as_object().unwrap().keys() {
            assert!(page.contains(&escape(path)), "{path}");
        }
        assert!(ErrorCode::ALL.iter().all(|code| page.contains(code.as_str())));
        for outside in ["<script", "src=", "@import", "url(", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn markup_in_text_is_text() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
