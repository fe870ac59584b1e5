//! Requests and decisions as they travel in JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ridgeline_domain::{Operation, Outcome, Position, Sensitive, SubjectId};
use serde::{Deserialize, Deserializer, Serialize};

/// A sample to submit. `Debug` shows no content.
#[derive(Debug, Clone)]
pub struct Sample {
    format: String,
    data: Sensitive<String>,
    dpi: Option<u16>,
}

impl Sample {
    /// An image of `format` (`png`, `jpeg`, `bmp`, `tiff`, `pgm`, `wsq`); `dpi` 250–1200 unless the file carries it.
    #[must_use]
    pub fn image(format: &str, bytes: &[u8], dpi: Option<u16>) -> Self {
        Self { format: format.to_owned(), data: Sensitive::new(STANDARD.encode(bytes)), dpi }
    }

    /// A finger minutiae record of another system; `format` is `iso19794-2` or `ansi378`.
    #[must_use]
    pub fn record(format: &str, bytes: &[u8]) -> Self {
        Self { format: format.to_owned(), data: Sensitive::new(STANDARD.encode(bytes)), dpi: None }
    }

    /// A template that the service returned earlier.
    #[must_use]
    pub fn sealed(template: &SealedTemplate) -> Self {
        Self { format: "sealed".to_owned(), data: Sensitive::new(template.0.clone()), dpi: None }
    }
}

/// An opaque template as the service returned it: base64. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedTemplate(String);

impl SealedTemplate {
    /// From standard base64, for instance from a file.
    #[must_use]
    pub fn from_base64(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// As standard base64.
    #[must_use]
    pub fn as_base64(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SealedTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedTemplate(..)")
    }
}

/// Wishes beside the operation; what is absent is left to the service.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ScanOptions {
    /// Raises the accept bound, 0–100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_confidence: Option<f64>,
    /// Candidates to return, 1–100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Hold samples to the recommended quality.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict_quality: bool,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Scan {
    /// What is asked.
    pub operation: Operation,
    /// Whom it is about; required for enrol, verify and delete.
    pub subject: Option<SubjectId>,
    /// Which finger.
    pub position: Position,
    /// 1–10 samples, none for delete.
    pub samples: Vec<Sample>,
    /// Further wishes.
    pub options: ScanOptions,
    /// Stored encrypted with the subject.
    pub metadata: BTreeMap<String, String>,
}

impl Scan {
    /// A request with samples of an unstated finger and no further wishes.
    #[must_use]
    pub fn new(operation: Operation, subject: Option<SubjectId>, samples: Vec<Sample>) -> Self {
        Self {
            operation,
            subject,
            position: Position::Unknown,
            samples,
            options: ScanOptions::default(),
            metadata: BTreeMap::new(),
        }
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> Body<'_> {
        Body {
            operation: self.operation.as_str(),
            subject_id: self.subject.as_ref().map(SubjectId::as_str),
            position: (self.position != Position::Unknown).then_some(self.position.as_str()),
            samples: self.samples.iter().map(SampleBody::of).collect(),
            options: (self.options != ScanOptions::default()).then_some(&self.options),
            metadata: &self.metadata,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Body<'a> {
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<SampleBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<&'a ScanOptions>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct SampleBody<'a> {
    format: &'a str,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dpi: Option<u16>,
}

impl<'a> SampleBody<'a> {
    fn of(sample: &'a Sample) -> Self {
        Self { format: &sample.format, data: sample.data.expose(), dpi: sample.dpi }
    }
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanState {
    /// Durable, not decided yet.
    Accepted,
    /// Decided.
    Decided,
    /// The pipeline could not process it.
    Failed,
}

/// Answer to a status request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScanStatus {
    /// The request.
    pub confirmation_id: String,
    /// How far it is.
    pub status: ScanState,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// How a request ended. Members that this version does not know are left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// The request.
    pub confirmation_id: String,
    /// What was asked, as the service spells it.
    pub operation: String,
    /// How it ended.
    #[serde(deserialize_with = "outcome", serialize_with = "outcome_text")]
    pub outcome: Outcome,
    /// Who was enrolled, verified, found or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<String>,
    /// Why it was refused or failed. A string, because later versions know more reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Per sample, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Vec<f64>>,
    /// Best first; for callers who may see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<Candidate>>,
    /// Of a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Opaque template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SealedTemplate>,
    /// Engine name and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Refuse the decision after this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// When it was first stored (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<String>,
    /// From the log's append to the decision, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
}

/// Someone a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Who.
    pub subject_id: String,
    /// Which finger.
    #[serde(default)]
    pub position: String,
    /// 0–100.
    pub confidence: f64,
}

/// How much of the gallery a search saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Partitions searched.
    pub searched: u32,
    /// Partitions there are.
    pub total: u32,
    /// Templates compared.
    pub templates: u64,
}

fn outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
    let word = String::deserialize(deserializer)?;
    word.parse().map_err(serde::de::Error::custom)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn outcome_text<S: serde::Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_only_what_was_said() {
        let sample = Sample::image("png", b"abc", Some(500));
        let mut scan = Scan::new(Operation::Verify, Some("alice".parse().unwrap()), vec![sample]);
        let body = serde_json::to_value(scan.body()).unwrap();
        let expected = serde_json::json!({
            "operation": "verify", "subject_id": "alice", "samples": [{"format": "png", "data": "YWJj", "dpi": 500}],
        });
        assert_eq!(body, expected);
        scan.position = Position::LeftThumb;
        scan.options.top_k = Some(3);
        let body = serde_json::to_value(scan.body()).unwrap();
        assert_eq!((&body["position"], &body["options"]), (&"left_thumb".into(), &serde_json::json!({"top_k": 3})));
    }

    #[test]
    fn decisions_of_later_versions_are_read() {
        let text = r#"{"confirmation_id":"0a","operation":"verify","outcome":"rejected","reason":"too_cold",
            "liveness":{"status":"not_assessed"},"quality":[70],"weather":"fine","template":"QQ=="}"#;
        let decision: Decision = serde_json::from_str(text).unwrap();
        assert_eq!((decision.outcome, decision.reason.as_deref()), (Outcome::Rejected, Some("too_cold")));
        assert!(!format!("{decision:?}").contains("QQ=="), "a template never shows");
        assert!(serde_json::to_string(&decision).unwrap().contains(r#""template":"QQ==""#));
    }

    #[test]
    fn samples_do_not_show() {
        let shown = format!("{:?}", Sample::image("png", b"ridges", None));
        assert!(!shown.contains(&STANDARD.encode("ridges")), "{shown}");
    }
}
