//! How long a caller wants to wait for a decision.

use std::time::Duration;

use axum::http::HeaderMap;
use ridgeline_domain::ErrorCode;

use crate::problem::Problem;

/// `Prefer: wait=SECONDS` (RFC 7240), cut to `max`. A preference that cannot be read is ignored, as the RFC asks.
pub(crate) fn preferred_wait(headers: &HeaderMap, max: Duration) -> Option<Duration> {
    let lines = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let seconds = lines.flat_map(|line| line.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("wait") && !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()))
            .then(|| value.parse::<u64>().unwrap_or(u64::MAX))
    })?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(max))
}

/// The query `wait=SECONDS`, from 0 to `max`; no other parameter exists.
pub(crate) fn query_wait(query: Option<&str>, max: Duration) -> Result<Option<Duration>, Problem> {
    let wrong = |detail: String| Problem::field(ErrorCode::MalformedRequest, "/wait", detail);
    let mut wait = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let Some(("wait", value)) = pair.split_once('=') else {
            return Err(Problem::malformed("the only query parameter is wait"));
        };
        let seconds = value.parse::<u64>().ok().filter(|seconds| *seconds <= max.as_secs() && wait.is_none());
        let seconds = seconds.ok_or_else(|| wrong(format!("must be between 0 and {} seconds", max.as_secs())))?;
        wait = Some(Duration::from_secs(seconds));
    }
    Ok(wait.filter(|wait| !wait.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(30);

    fn prefer(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", value.parse().unwrap());
        preferred_wait(&headers, MAX).map(|wait| wait.as_secs())
    }

    #[test]
    fn preferences_are_read_and_others_ignored() {
        assert_eq!(prefer("wait=10"), Some(10));
        assert_eq!(prefer("respond-async, Wait = \"5\"; x=1"), Some(5));
        assert_eq!(prefer("wait=31"), Some(30));
        assert_eq!(prefer("wait=99999999999999999999999"), Some(30));
        for ignored in ["wait", "wait=", "wait=0", "wait=-1", "wait=x", "await=3", "", ",;=,", "wait=+3"] {
            assert_eq!(prefer(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn the_query_is_strict() {
        let read = |query| query_wait(Some(query), MAX).ok().map(|wait| wait.map(|wait| wait.as_secs()));
        assert_eq!(query_wait(None, MAX).ok(), Some(None));
        assert_eq!(read("wait=0"), Some(None));
        assert_eq!(read("wait=30"), Some(Some(30)));
        for refused in ["wait=31", "wait=", "wait=x", "wait", "wait=1&wait=2", "x=1", "wait=-1"] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }
}
