//! What a caller asks for: read strictly, checked field by field, samples still as they were sent.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ridgeline_domain::{Confidence, ErrorCode, Modality, Operation, Position, Sensitive, SubjectId};
use ridgeline_intake::{RawSample, SampleFormat, ScanOptions};
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::Segment;

use crate::problem::{FieldError, Problem};

pub(super) const SAMPLES_MAX: usize = 10;
/// Names and values together, in bytes of UTF-8.
pub(super) const METADATA_BYTES_MAX: usize = 4096;
const DPI: std::ops::RangeInclusive<u16> = 250..=1200;
const TOP_K: std::ops::RangeInclusive<u32> = 1..=100;

/// A request whose fields are valid. Nothing is said yet about its samples.
pub(crate) struct ScanInput {
    pub(crate) operation: Operation,
    pub(crate) subject: Option<SubjectId>,
    pub(crate) position: Position,
    pub(crate) samples: Vec<RawSample>,
    pub(crate) options: ScanOptions,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl ScanInput {
    /// The request to forget a subject.
    pub(crate) fn deletion(subject: SubjectId) -> Self {
        Self {
            operation: Operation::Delete,
            subject: Some(subject),
            position: Position::Unknown,
            samples: Vec::new(),
            options: ScanOptions::default(),
            metadata: BTreeMap::new(),
        }
    }
}

/// The fields as text and numbers, whichever way they came.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) operation: Option<String>,
    pub(super) subject_id: Option<String>,
    pub(super) modality: Option<String>,
    pub(super) position: Option<String>,
    #[serde(default, deserialize_with = "samples")]
    pub(super) samples: Vec<SampleField>,
    pub(super) options: Option<OptionFields>,
    #[serde(default, deserialize_with = "metadata")]
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) callback_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleField {
    format: Option<String>,
    #[serde(deserialize_with = "base64")]
    data: Sensitive<Vec<u8>>,
    dpi: Option<u16>,
}

impl SampleField {
    pub(super) fn new(format: Option<String>, data: Vec<u8>, dpi: Option<u16>) -> Self {
        Self { format, data: Sensitive::new(data), dpi }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptionFields {
    threshold_confidence: Option<f64>,
    top_k: Option<u32>,
    dedup: Option<bool>,
    gallery: Option<IgnoredAny>,
    strict_quality: Option<bool>,
}

/// Reads a body of `application/json`.
pub(crate) fn from_json(bytes: &[u8]) -> Result<ScanInput, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::malformed("the body is empty"));
    }
    check(json_at("", bytes)?, true)
}

/// Decodes JSON; an error names its place below `root`.
pub(crate) fn json_at<'de, T: Deserialize<'de>>(root: &str, bytes: &'de [u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = format!("{root}{}", pointer(error.path()));
        let error = error.into_inner();
        match error.classify() {
            serde_json::error::Category::Data => {
                Problem::field(ErrorCode::MalformedRequest, pointer, without_content(&error))
            }
            _ => Problem::malformed(format!("not valid JSON, in line {}", error.line())),
        }
    })?;
    json.end().map_err(|_| Problem::malformed("not valid JSON: something follows the object"))?;
    Ok(value)
}

/// What the decoder complains about, without quoting what was sent.
fn without_content(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let said = text.split(" at line ").next().unwrap_or_default();
    for known in ["unknown field", "missing field", "duplicate field", "must "] {
        if said.starts_with(known) {
            // Unknown names are left out: they may be anything.
            return if known == "unknown field" {
                "is not a field of this interface".to_owned()
            } else {
                said.to_owned()
            };
        }
    }
    match said.rsplit_once("expected ") {
        Some((_, expected)) => format!("must be {expected}"),
        None => "is not valid".to_owned(),
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter().fold(String::new(), |mut pointer, segment| {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                let short: String = key.chars().take(64).collect();
                pointer.push('/');
                pointer.push_str(&short.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
        pointer
    })
}

/// Collects what is wrong with the fields.
#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError { pointer: pointer.into(), detail: detail.into() });
    }

    /// Parses a field that is there.
    fn parse<T: std::str::FromStr<Err: fmt::Display>>(&mut self, pointer: &str, text: Option<&str>) -> Option<T> {
        match text?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.to_string();
                self.add(pointer, error);
                None
            }
        }
    }
}

/// Checks the fields. `format_required`: each sample must name its format.
pub(super) fn check(fields: Fields, format_required: bool) -> Result<ScanInput, Problem> {
    let mut errors = Errors::default();
    if fields.operation.is_none() {
        errors.add("/operation", "is required");
    }
    let operation = errors.parse::<Operation>("/operation", fields.operation.as_deref());
    let subject = errors.parse::<SubjectId>("/subject_id", fields.subject_id.as_deref());
    errors.parse::<Modality>("/modality", fields.modality.as_deref());
    let position = errors.parse("/position", fields.position.as_deref()).unwrap_or(Position::Unknown);
    if let Some(operation) = operation {
        if operation.needs_subject() && fields.subject_id.is_none() {
            errors.add("/subject_id", format!("is required for {operation}"));
        }
        match (operation.needs_samples(), fields.samples.is_empty()) {
            (true, true) => errors.add("/samples", format!("between 1 and {SAMPLES_MAX} samples are required")),
            (false, false) => errors.add("/samples", format!("{operation} takes no samples")),
            _ => {}
        }
    }
    let mut later = fields.callback_url.is_some().then(|| later("/callback_url", "callbacks"));
    let option_fields = fields.options.unwrap_or_default();
    let options = check_options(&option_fields, &mut errors);
    if option_fields.dedup == Some(true) {
        later = Some(self::later("/options/dedup", "the duplicate search"));
    } else if option_fields.gallery.is_some() {
        later = Some(self::later("/options/gallery", "gallery filters"));
    }
    let samples = fields.samples.into_iter().enumerate();
    let samples: Vec<_> =
        samples.filter_map(|(at, field)| check_sample(at, field, format_required, &mut errors)).collect();
    if !errors.0.is_empty() {
        return Err(Problem::fields(errors.0));
    }
    match (later, operation) {
        (Some(later), _) => Err(later),
        (None, Some(operation)) => {
            Ok(ScanInput { operation, subject, position, samples, options, metadata: fields.metadata })
        }
        (None, None) => Err(Problem::field(ErrorCode::MalformedRequest, "/operation", "is required")),
    }
}

fn later(pointer: &str, what: &str) -> Problem {
    Problem::field(ErrorCode::NotImplemented, pointer, format!("{what}: not available in this version"))
}

fn check_options(fields: &OptionFields, errors: &mut Errors) -> ScanOptions {
    if fields.threshold_confidence.is_some_and(|value| !(0.0..=100.0).contains(&value)) {
        errors.add("/options/threshold_confidence", "must be between 0 and 100");
    }
    if fields.top_k.is_some_and(|value| !TOP_K.contains(&value)) {
        errors.add("/options/top_k", "must be between 1 and 100");
    }
    ScanOptions {
        threshold_confidence: fields.threshold_confidence.map(Confidence::new),
        top_k: fields.top_k,
        strict_quality: fields.strict_quality.unwrap_or(false),
        session_requested: false,
    }
}

fn check_sample(at: usize, field: SampleField, format_required: bool, errors: &mut Errors) -> Option<RawSample> {
    if field.dpi.is_some_and(|dpi| !DPI.contains(&dpi)) {
        errors.add(format!("/samples/{at}/dpi"), "must be between 250 and 1200");
    }
    let pointer = format!("/samples/{at}/format");
    let format = match field.format.as_deref().map(SampleFormat::parse) {
        None if format_required => {
            errors.add(pointer, "is required");
            return None;
        }
        None => None,
        Some(Ok(format)) => Some(format),
        Some(Err(error)) => {
            errors.add(pointer, error.public_detail());
            return None;
        }
    };
    Some(RawSample { format, bytes: field.data, dpi: field.dpi })
}

/// At most ten samples are kept, whatever is sent.
fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SampleField>, D::Error> {
    struct Bounded;
    impl<'de> Visitor<'de> for Bounded {
        type Value = Vec<SampleField>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of samples")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut samples = Vec::new();
            while let Some(sample) = seq.next_element()? {
                if samples.len() == SAMPLES_MAX {
                    return Err(A::Error::custom(format!("must have at most {SAMPLES_MAX} samples")));
                }
                samples.push(sample);
            }
            Ok(samples)
        }
    }
    deserializer.deserialize_any(Bounded)
}

/// At most 4 KB of names and values are kept, whatever is sent.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Bounded;
    impl<'de> Visitor<'de> for Bounded {
        type Value = BTreeMap<String, String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut entries, mut bytes) = (BTreeMap::new(), 0_usize);
            while let Some((name, value)) = map.next_entry::<String, String>()? {
                bytes += name.len() + value.len();
                if bytes > METADATA_BYTES_MAX {
                    return Err(A::Error::custom(format!("must have at most {METADATA_BYTES_MAX} bytes")));
                }
                if entries.insert(name, value).is_some() {
                    return Err(A::Error::custom("must name each entry once"));
                }
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_any(Bounded)
}

/// A metadata object that stands alone, in a form field.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Metadata(#[serde(deserialize_with = "metadata")] pub(super) BTreeMap<String, String>);

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sensitive<Vec<u8>>, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Sensitive<Vec<u8>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("standard base64")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            STANDARD.decode(text).map(Sensitive::new).map_err(|_| E::custom("must be standard base64"))
        }
    }
    deserializer.deserialize_str(Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (ErrorCode, Vec<String>) {
        let Err(problem) = from_json(body.as_bytes()) else { panic!("accepted: {body}") };
        let json = serde_json::to_value(problem.clone().body("", "x")).unwrap();
        let pointers = json["errors"].as_array().cloned().unwrap_or_default();
        let pointers = pointers.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
        (problem.code(), pointers)
    }

    fn malformed_at(body: &str) -> Vec<String> {
        let (code, pointers) = refusal(body);
        assert_eq!(code, ErrorCode::MalformedRequest, "{body}");
        pointers
    }

    #[test]
    fn a_full_request_is_read() {
        let input = from_json(
            br#"{"operation":"enrol","subject_id":"a-1","modality":"fingerprint","position":"left_ring",
                "samples":[{"format":"png","data":"AAEC","dpi":500},{"format":"sealed","data":""}],
                "options":{"threshold_confidence":80,"top_k":3,"dedup":false,"gallery":null,"strict_quality":true},
                "metadata":{"badge":"7"},"callback_url":null}"#,
        );
        let input = input.unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!((input.operation, input.position), (Operation::Enrol, Position::LeftRing));
        assert_eq!(input.samples[0].bytes.expose(), &[0, 1, 2]);
        assert_eq!((input.samples[0].dpi, input.samples[1].format), (Some(500), Some(SampleFormat::Sealed)));
        assert_eq!(input.options.top_k, Some(3));
        assert!(input.options.strict_quality);
        assert_eq!(input.metadata["badge"], "7");
    }

    #[test]
    fn each_wrong_field_is_named() {
        let sample = r#"[{"format":"png","data":"AA==","dpi":500}]"#;
        let verify = |rest: &str| format!(r#"{{"operation":"verify","samples":{sample},{rest}}}"#);
        assert_eq!(malformed_at("{}"), ["/operation"]);
        assert_eq!(malformed_at(r#"{"operation":"purge"}"#), ["/operation"]);
        assert_eq!(malformed_at(r#"{"operation":7}"#), ["/operation"]);
        assert_eq!(malformed_at(r#"{"operation":"delete"}"#), ["/subject_id"]);
        assert_eq!(malformed_at(r#"{"operation":"verify"}"#), ["/subject_id", "/samples"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a/b""#)), ["/subject_id"]);
        assert_eq!(malformed_at(&verify(&format!(r#""subject_id":"{}""#, "x".repeat(101)))), ["/subject_id"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","modality":"face""#)), ["/modality"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","position":"thumb""#)), ["/position"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","colour":1"#)), ["/colour"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","options":{"x":1}"#)), ["/options/x"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","options":{"top_k":0}"#)), ["/options/top_k"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","options":{"top_k":101}"#)), ["/options/top_k"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","options":{"top_k":1.5}"#)), ["/options/top_k"]);
        let threshold = r#""subject_id":"a","options":{"threshold_confidence":100.1}"#;
        assert_eq!(malformed_at(&verify(threshold)), ["/options/threshold_confidence"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","metadata":{"a":1}"#)), ["/metadata/a"]);
        assert_eq!(malformed_at(&verify(r#""subject_id":"a","metadata":{"a":"1","a":"2"}"#)), ["/metadata"]);
        let large = format!(r#""subject_id":"a","metadata":{{"a":"{}"}}"#, "x".repeat(4096));
        assert_eq!(malformed_at(&verify(&large)), ["/metadata"]);
        assert_eq!(
            malformed_at(r#"{"operation":"delete","subject_id":"a","samples":[{"format":"png","data":""}]}"#),
            ["/samples"]
        );
    }

    #[test]
    fn each_wrong_sample_is_named() {
        let identify = |samples: &str| format!(r#"{{"operation":"identify","samples":{samples}}}"#);
        assert_eq!(malformed_at(&identify("[]")), ["/samples"]);
        assert_eq!(malformed_at(&identify("7")), ["/samples"]);
        assert_eq!(malformed_at(&identify("[7]")), ["/samples/0"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"png"}]"#)), ["/samples/0"]);
        assert_eq!(malformed_at(&identify(r#"[{"data":""}]"#)), ["/samples/0/format"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"exe","data":""}]"#)), ["/samples/0/format"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"png","data":"?"}]"#)), ["/samples/0/data"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"png","data":"AA"}]"#)), ["/samples/0/data"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"png","data":"","dpi":249}]"#)), ["/samples/0/dpi"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"png","data":"","dpi":1201}]"#)), ["/samples/0/dpi"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"png","data":"","dpi":-1}]"#)), ["/samples/0/dpi"]);
        assert_eq!(malformed_at(&identify(r#"[{"format":"png","data":"","dpi":70000}]"#)), ["/samples/0/dpi"]);
        let many = [r#"{"format":"png","data":""}"#; 11].join(",");
        assert_eq!(malformed_at(&identify(&format!("[{many}]"))), ["/samples"]);
    }

    #[test]
    fn what_is_no_json_object_is_malformed() {
        for body in ["", "   ", "nonsense", "{", "[]", "null", "7", "{}{}", "{\"operation\":\"enrol\",}", "\u{feff}{}"]
        {
            assert_eq!(refusal(body).0, ErrorCode::MalformedRequest, "{body:?}");
        }
        assert!(from_json(&[0xff, 0xfe, 0x00]).is_err());
        assert!(from_json(&[b'['; 100_000]).is_err());
    }

    #[test]
    fn later_parts_of_the_interface_say_so() {
        let with = |rest: &str| {
            refusal(&format!(
                r#"{{"operation":"enrol","subject_id":"a","samples":[{{"format":"png","data":""}}],{rest}}}"#
            ))
        };
        let not_yet = |pointer: &str| (ErrorCode::NotImplemented, vec![pointer.to_owned()]);
        assert_eq!(with(r#""callback_url":"https://a.example""#), not_yet("/callback_url"));
        assert_eq!(with(r#""options":{"dedup":true}"#), not_yet("/options/dedup"));
        assert_eq!(with(r#""options":{"gallery":{"sites":["a"]}}"#), not_yet("/options/gallery"));
    }

    #[test]
    fn a_refusal_never_quotes_what_was_sent() {
        for body in [
            r#"{"operation":"s3cret"}"#,
            r#"{"operation":"verify","s3cret":1}"#,
            r#"{"operation":"identify","samples":"s3cret"}"#,
            r#"{"operation":"identify","samples":[{"format":"s3cret","data":""}]}"#,
        ] {
            let Err(problem) = from_json(body.as_bytes()) else { panic!("accepted") };
            let json = serde_json::to_value(problem.body("", "x")).unwrap();
            assert!(!json["detail"].as_str().unwrap().contains("s3cret"), "{json}");
        }
    }
}
