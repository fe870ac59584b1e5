//! How long somebody asks to be left alone.

use std::time::UNIX_EPOCH;

use ridgeline_domain::{DurationMs, Timestamp};
use ridgeline_egress::Answer;

/// Longer waits are not believed: a date may come from a clock that is wrong.
const WAIT_MS_MAX: i64 = 86_400_000;
/// A date has 29 characters at most.
const TEXT_BYTES_MAX: usize = 40;

/// `Retry-After` of an answer: seconds or a date (RFC 9110, 10.2.3). A date that is over means at once.
pub(super) fn retry_after(answer: &Answer, now: Timestamp) -> Option<DurationMs> {
    let text = answer.retry_after.as_deref()?.trim();
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let millis = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse::<i64>().map_or(WAIT_MS_MAX, |seconds| seconds.saturating_mul(1_000))
    } else {
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Timestamp::from_millis(i64::try_from(date.as_millis()).ok()?).since(now).0
    };
    Some(DurationMs(millis.clamp(0, WAIT_MS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(text: &str) -> Option<i64> {
        let answer = Answer { status: 429, body: Vec::new(), retry_after: Some(text.to_owned()) };
        retry_after(&answer, Timestamp::from_millis(784_111_777_000)).map(|wait| wait.0)
    }

    #[test]
    fn seconds_and_dates_are_waited_for() {
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait("120"), Some(120_000));
        assert_eq!(wait(" 7 "), Some(7_000));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60_000));
        assert_eq!(wait("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60_000));
        assert_eq!(wait("Sun Nov  6 08:50:37 1994"), Some(60_000));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0));
    }

    #[test]
    fn the_longest_wait_is_a_day() {
        for text in ["86401", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(wait(text), Some(WAIT_MS_MAX), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_not_waited_for() {
        for text in
            ["", "-1", "1.5", "soon", "1e3", "٣", "Sun, 06 Nov 1994", "06 Nov 1994 08:49:37 GMT", &"9".repeat(41)]
        {
            assert_eq!(wait(text), None, "{text}");
        }
        assert_eq!(
            retry_after(&Answer { status: 503, body: Vec::new(), retry_after: None }, Timestamp::from_millis(0)),
            None
        );
    }
}
