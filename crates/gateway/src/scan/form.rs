//! `multipart/form-data`: parts named `sample`, and the fields of the JSON form as text.

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use ridgeline_domain::ErrorCode;

use super::input::{Fields, METADATA_BYTES_MAX, Metadata, SAMPLES_MAX, SampleField, ScanInput, check, json_at};
use crate::problem::Problem;

/// Longest text field: metadata with its quotes and escapes.
const TEXT_BYTES_MAX: usize = 8 * METADATA_BYTES_MAX;

/// Reads a whole body.
pub(super) async fn read(headers: &HeaderMap, bytes: Bytes) -> Result<ScanInput, Problem> {
    let mut request = Request::new(Body::from(bytes));
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    }
    // The body was bounded when it was read.
    DefaultBodyLimit::disable().apply(&mut request);
    let broken = |_: MultipartError| Problem::malformed("the body is not valid multipart/form-data");
    let parts = Multipart::from_request(request, &()).await;
    let mut parts = parts.map_err(|_| Problem::malformed("the content type names no boundary"))?;

    let mut form = Form::default();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        form.take(part).await?;
    }
    form.finish()
}

#[derive(Default)]
struct Form {
    fields: Fields,
    samples: Vec<Vec<u8>>,
    format: Option<String>,
    dpi: Option<String>,
    options: Option<String>,
    metadata: Option<String>,
}

impl Form {
    async fn take(&mut self, part: Field<'_>) -> Result<(), Problem> {
        let name = part.name().unwrap_or_default().to_owned();
        let broken = |_: MultipartError| Problem::malformed("the body is not valid multipart/form-data");
        let bytes = part.bytes().await.map_err(broken)?;
        if name == "sample" {
            if self.samples.len() == SAMPLES_MAX {
                return Err(wrong("sample", "occurs more than 10 times"));
            }
            self.samples.push(bytes.into());
            return Ok(());
        }
        let slot = match name.as_str() {
            "operation" => &mut self.fields.operation,
            "subject_id" => &mut self.fields.subject_id,
            "modality" => &mut self.fields.modality,
            "position" => &mut self.fields.position,
            "callback_url" => &mut self.fields.callback_url,
            "format" => &mut self.format,
            "dpi" => &mut self.dpi,
            "options" => &mut self.options,
            "metadata" => &mut self.metadata,
            _ => {
                let short: String = name.chars().take(64).collect();
                return Err(wrong(&short, "is not a field of this interface"));
            }
        };
        if slot.is_some() {
            return Err(wrong(&name, "occurs twice"));
        }
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(wrong(&name, "is too long"));
        }
        let text = String::from_utf8(bytes.into()).map_err(|_| wrong(&name, "must be UTF-8"))?;
        *slot = Some(text);
        Ok(())
    }

    fn finish(mut self) -> Result<ScanInput, Problem> {
        if let Some(options) = &self.options {
            self.fields.options = json_at("/options", options.as_bytes())?;
        }
        if let Some(metadata) = &self.metadata {
            self.fields.metadata = json_at::<Metadata>("/metadata", metadata.as_bytes())?.0;
        }
        let dpi = match self.dpi.as_deref().map(str::parse::<u16>) {
            None => None,
            Some(Ok(dpi)) if (250..=1200).contains(&dpi) => Some(dpi),
            Some(_) => return Err(wrong("dpi", "must be a whole number between 250 and 1200")),
        };
        let sample = |bytes| SampleField::new(self.format.clone(), bytes, dpi);
        self.fields.samples = self.samples.into_iter().map(sample).collect();
        check(self.fields, false)
    }
}

fn wrong(field: &str, detail: &str) -> Problem {
    Problem::field(ErrorCode::MalformedRequest, format!("/{}", field.replace('~', "~0").replace('/', "~1")), detail)
}
