//! What the clients of a process have heard about their connections: the last error, and a fault that ends everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use tokio::sync::watch;
use tokio::time::Instant;

/// An error heard this long ago still explains why a call fails now.
const REASON_LIFE: Duration = Duration::from_secs(60);
/// The same error is logged again after this long; a client that cannot connect repeats it at every attempt.
const REPEAT: Duration = Duration::from_secs(10);

/// Shared by all clients of a process.
#[derive(Default)]
pub(crate) struct Status {
    last: Mutex<Option<Heard>>,
    fault: watch::Sender<Option<String>>,
    stopped: AtomicBool,
}

struct Heard {
    at: Instant,
    logged: Instant,
    weight: u8,
    text: String,
}

/// How much an error explains. That a broker cannot be used follows from each of the others, and is told after them.
fn weight(cause: &Cause) -> u8 {
    match cause.rdkafka_error_code() {
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => 2,
        Some(Code::AllBrokersDown) | None => 0,
        Some(_) => 1,
    }
}

impl Status {
    /// Notes an error that a client tells outside of any call. Some causes, a wrong password among them, are told only here.
    pub(crate) fn error(&self, client: &str, cause: &Cause, reason: &str) {
        if cause.rdkafka_error_code() == Some(Code::Fatal) {
            self.set_fault(reason);
        }
        let now = Instant::now();
        let mut last = self.last.lock();
        let repeated = last.as_ref().filter(|heard| heard.text == reason && now < heard.logged + REPEAT);
        let logged = repeated.map_or(now, |heard| heard.logged);
        if repeated.is_none() && weight(cause) > 0 {
            tracing::warn!(client, reason, "kafka client");
        }
        let weight = weight(cause);
        if last.as_ref().is_none_or(|heard| weight >= heard.weight || now >= heard.at + REPEAT) {
            *last = Some(Heard { at: now, logged, weight, text: reason.to_owned() });
        }
    }

    /// A client can do nothing any more. The first reason counts.
    pub(crate) fn set_fault(&self, reason: &str) {
        tracing::error!(reason, "kafka client failed for good");
        self.fault.send_if_modified(|fault| {
            let is_first = fault.is_none();
            fault.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Waits until a client can do nothing any more.
    pub(crate) async fn broken(&self) -> String {
        let mut faults = self.fault.subscribe();
        match faults.wait_for(Option::is_some).await.map(|fault| fault.clone()) {
            Ok(Some(fault)) => fault,
            // The sender is ours, so it is still there.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// The text, with the last error if it was heard lately.
    pub(crate) fn with_reason(&self, text: String) -> String {
        let last = self.last.lock();
        match last.as_ref().filter(|heard| Instant::now() < heard.at + REASON_LIFE) {
            Some(heard) => format!("{text} (last heard: {})", heard.text),
            None => text,
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// A client's own log lines. What it can mend by itself is no warning of ours, and errors are also told to [`Status::error`].
pub(crate) fn forward_log(client: &str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // One set of overrides serves consumers and the producer, and each tells which of them it has no use for.
        _ if facility == "CONFWARN" => tracing::debug!(client, message, "librdkafka"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(client, facility, message, "librdkafka");
        }
        RDKafkaLogLevel::Error => tracing::info!(client, facility, message, "librdkafka"),
        RDKafkaLogLevel::Warning => tracing::warn!(client, facility, message, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::debug!(client, facility, message, "librdkafka"),
        RDKafkaLogLevel::Debug => tracing::trace!(client, facility, message, "librdkafka"),
    }
}

/// The context of a client that only asks.
pub(crate) struct Asker(pub(crate) Arc<Status>);

impl rdkafka::ClientContext for Asker {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        forward_log("questions", level, facility, message);
    }

    fn error(&self, cause: Cause, reason: &str) {
        self.0.error("questions", &cause, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl rdkafka::consumer::ConsumerContext for Asker {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_explains_a_failure() {
        let status = Status::default();
        assert_eq!(status.with_reason("cannot publish".into()), "cannot publish");
        status.error("producer", &Cause::Global(Code::Authentication), "Authentication failed");
        assert_eq!(status.with_reason("cannot publish".into()), "cannot publish (last heard: Authentication failed)");
        assert_eq!(status.fault(), None);
        for (code, reason) in [(Code::BrokerTransportFailure, "disconnected"), (Code::AllBrokersDown, "1/1 are down")] {
            status.error("producer", &Cause::Global(code), reason);
        }
        assert!(status.with_reason(String::new()).contains("Authentication failed"), "what follows explains less");
    }

    #[tokio::test]
    async fn the_first_fatal_error_is_the_fault_and_wakes_those_who_wait_for_one() {
        let status = Arc::new(Status::default());
        let waiting = tokio::spawn({
            let status = status.clone();
            async move { status.broken().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        for reason in ["out of sequence", "something after it"] {
            status.error("producer", &Cause::Global(Code::Fatal), reason);
        }
        assert_eq!(status.fault().as_deref(), Some("out of sequence"));
        assert_eq!(waiting.await.unwrap(), "out of sequence");
        assert_eq!(status.broken().await, "out of sequence", "also for those who come late");
    }
}
