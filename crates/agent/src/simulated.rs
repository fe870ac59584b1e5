//! A reader without hardware: serves images as if a finger were placed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ridgeline_domain::{Operation, Position, ReaderId, RequestId, Sensitive, SubjectId};
use ridgeline_intake::RawSample;
use ridgeline_ports::{Clock, Entropy};
use tokio::sync::mpsc;

use crate::{Capture, Reader, Settled};

/// A finger placed on the simulated reader.
#[derive(Debug, Clone)]
pub struct Touch {
    /// What is asked.
    pub operation: Operation,
    /// Whom it is about; for enrol and verify.
    pub subject: Option<SubjectId>,
    /// Which finger.
    pub position: Position,
    /// The image file.
    pub image: Sensitive<Vec<u8>>,
    /// Its resolution, unless the file carries it.
    pub dpi: Option<u16>,
}

/// Serves touches one after the other, `pace` apart.
pub struct SimulatedReader {
    id: ReaderId,
    touches: std::vec::IntoIter<Touch>,
    pace: Duration,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settled: Option<mpsc::UnboundedSender<(RequestId, Settled)>>,
}

impl std::fmt::Debug for SimulatedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedReader").field("id", &self.id).field("left", &self.touches.len()).finish()
    }
}

impl SimulatedReader {
    /// A reader that ends after the last of `touches`.
    #[must_use]
    pub fn new(
        id: ReaderId,
        touches: Vec<Touch>,
        pace: Duration,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { id, touches: touches.into_iter(), pace, clock, entropy, settled: None }
    }

    /// Reports each capture's id and what became of it.
    #[must_use]
    pub fn reporting(mut self, to: mpsc::UnboundedSender<(RequestId, Settled)>) -> Self {
        self.settled = Some(to);
        self
    }
}

#[async_trait]
impl Reader for SimulatedReader {
    fn id(&self) -> &ReaderId {
        &self.id
    }

    async fn next(&mut self) -> Option<Capture> {
        tokio::time::sleep(self.pace).await;
        let touch = self.touches.next()?;
        Some(Capture {
            request_id: self.entropy.request_id(),
            operation: touch.operation,
            subject: touch.subject,
            position: touch.position,
            captured_at: self.clock.now(),
            samples: vec![RawSample { format: None, bytes: touch.image, dpi: touch.dpi }],
        })
    }

    async fn settle(&mut self, request_id: RequestId, settled: Settled) {
        if let Settled::Refused(reason) = &settled {
            tracing::warn!(reader = %self.id, request_id = %request_id, reason = %reason, "a capture was refused");
        }
        if let Some(to) = &self.settled {
            // Nobody may be listening any more.
            let _ = to.send((request_id, settled));
        }
    }
}
