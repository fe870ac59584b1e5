//! W3C Trace Context: one trace id from a request to everything that follows from it, in the header `traceparent`.
//!
//! `tracestate` is not carried on: it holds what other vendors' tools think of a request, is up to 512 bytes of a caller's
//! choice, and would lie on the public topics for everybody to read.

use std::fmt;

use bytes::Bytes;
use ridgeline_domain::RequestId;

use crate::{Entropy, Headers};

/// Where a record or request stands in its trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// Name of the header, of HTTP requests and of records.
    pub const HEADER: &'static str = "traceparent";

    /// Reads a header of version 00, or the part of a later version that stays as it is. `None` for everything else.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.splitn(5, '-');
        let [version] = hex(parts.next()?)?;
        let (trace_id, span_id, [flags]) = (hex(parts.next()?)?, hex(parts.next()?)?, hex(parts.next()?)?);
        let more = parts.next().is_some();
        let valid = version != 0xff && !(version == 0 && more) && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// That of a record, if it has a valid one.
    #[must_use]
    pub fn of(headers: &Headers) -> Option<Self> {
        let (_, value) = headers.iter().find(|(name, _)| name == Self::HEADER)?;
        Self::parse(value)
    }

    /// A new trace.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self::about(entropy.request_id())
    }

    /// The trace of a request that came without one. Derived, so that a record which is read again stays in it.
    #[must_use]
    pub fn about(request: RequestId) -> Self {
        let mut trace_id = *request.as_bytes();
        if trace_id == [0; 16] {
            trace_id[15] = 1;
        }
        Self { trace_id, span_id: span(&trace_id, b""), sampled: true }
    }

    /// The same trace one step on. The step's id derives from the trace and from `id`, what is done or written: a repetition
    /// repeats it.
    #[must_use]
    pub fn child(&self, id: &str) -> Self {
        Self { span_id: span(&self.trace_id, id.as_bytes()), ..*self }
    }

    /// The trace's id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        digits(&self.trace_id)
    }

    /// The header of a record.
    #[must_use]
    pub fn header(&self) -> (String, Bytes) {
        (Self::HEADER.to_owned(), Bytes::from(self.to_string()))
    }
}

impl fmt::Display for TraceContext {
    /// As in the header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", digits(&self.trace_id), digits(&self.span_id), u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): spreads ids, and needs to resist nobody. Zero is no span id.
fn span(trace_id: &[u8; 16], id: &[u8]) -> [u8; 8] {
    let hash = trace_id
        .iter()
        .chain(id)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash.max(1).to_be_bytes()
}

/// Exactly `N` bytes in lower case, as the recommendation has it.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_recommendations_example_reads_and_writes_back() {
        let trace = TraceContext::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(trace.to_string(), EXAMPLE);
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let unsampled = EXAMPLE.replace("-01", "-fe");
        assert_eq!(TraceContext::parse(unsampled.as_bytes()).unwrap().to_string(), EXAMPLE.replace("-01", "-00"));
        let later = EXAMPLE.replacen("00", "cc", 1) + "-what-comes-later";
        assert_eq!(TraceContext::parse(later.as_bytes()), Some(trace), "a later version, its known part");
    }

    #[test]
    fn what_is_no_trace_context_is_none() {
        for wrong in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
            "é0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(TraceContext::parse(&[0xff, 0xfe]), None);
    }

    #[test]
    fn steps_stay_in_the_trace_and_repeat() {
        let trace = TraceContext::about(RequestId::from_bytes([7; 16]));
        assert_eq!(trace, TraceContext::about(RequestId::from_bytes([7; 16])));
        let (audit, decision) = (trace.child("7:audit"), trace.child("7:decision"));
        assert_eq!(audit.trace_id(), decision.trace_id());
        assert!(audit != decision && audit == trace.child("7:audit"));
        assert_eq!(TraceContext::of(&vec![audit.header()]), Some(audit));
        assert!(
            TraceContext::parse(TraceContext::about(RequestId::from_bytes([0; 16])).to_string().as_bytes()).is_some()
        );
    }
}
