//! Bodies: bounded in size before they are kept, and in time.

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use ridgeline_domain::ErrorCode;
use tokio::time::{Instant, timeout_at};

use crate::gateway::{Shared, Upload};
use crate::problem::Problem;

/// How much of a refused body is still read and thrown away. Clients that do not read while they send would otherwise see
/// a broken connection in place of the refusal.
const DISCARD_BYTES_MAX: usize = 24 << 20;
const DISCARD_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// A body as it comes in.
pub(crate) struct Incoming {
    stream: BodyDataStream,
    declared_bytes: Option<usize>,
}

impl Incoming {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> Self {
        let exact = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        Self { stream: body.into_data_stream(), declared_bytes: content_length(headers).or(exact) }
    }

    /// Whether the caller says that nothing comes.
    pub(crate) fn is_declared_empty(&self) -> bool {
        self.declared_bytes == Some(0)
    }

    /// The whole body and the room it takes.
    ///
    /// # Errors
    /// `BodyTooLarge` beyond `bytes_max`, `MalformedRequest` if it breaks off, stalls or is empty, `Unavailable` without room.
    pub(crate) async fn read(&mut self, shared: &Shared, bytes_max: usize) -> Result<(Bytes, Upload), Problem> {
        let too_large = || Problem::new(ErrorCode::BodyTooLarge, format!("a body has at most {bytes_max} bytes"));
        if self.declared_bytes.is_some_and(|bytes| bytes > bytes_max) {
            return Err(too_large());
        }
        // Room is taken as bytes arrive: who only declares a large body, or sends it slowly, keeps nobody out.
        let mut room = shared.reserve_upload(0)?;
        let total = Instant::now() + shared.limits().body_total;
        let mut bytes = BytesMut::new();
        loop {
            let idle = Instant::now() + shared.limits().body_idle;
            let late = |_| Problem::malformed("the body did not arrive in time");
            let Some(piece) = timeout_at(idle.min(total), self.stream.next()).await.map_err(late)? else { break };
            let piece = piece.map_err(|_| Problem::malformed("the body broke off"))?;
            if bytes.len() + piece.len() > bytes_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
            room.grow_to(shared, bytes.len())?;
        }
        if bytes.is_empty() {
            return Err(Problem::malformed("the body is empty"));
        }
        Ok((bytes.freeze(), room))
    }

    /// Reads on for a moment without keeping anything, so that the refusal reaches its caller.
    pub(crate) async fn discard(mut self) {
        let deadline = Instant::now() + DISCARD_TIME;
        let mut left = DISCARD_BYTES_MAX;
        while let Ok(Some(Ok(piece))) = timeout_at(deadline, self.stream.next()).await {
            let Some(rest) = left.checked_sub(piece.len()) else { return };
            left = rest;
        }
    }

    pub(crate) fn into_stream(self) -> BodyDataStream {
        self.stream
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Type and subtype of the body, lower case, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!kind.is_empty()).then_some(kind)
}
