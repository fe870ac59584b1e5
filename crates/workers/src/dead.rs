//! Dead letters: the original bytes, encrypted, with where, why and how often.

use std::sync::Arc;

use async_trait::async_trait;
use ridgeline_ports::{Record, TraceContext};
use ridgeline_runtime::{DeadLetters, Poison, StepError};
use ridgeline_vault::{Aad, Purpose};
use ridgeline_wire::message::DeadLetter;
use ridgeline_wire::row::{Header, Original};
use ridgeline_wire::{Topic, encode};

use crate::platform::{Outgoing, Platform, vault_fault, wire_fault};

/// Keys of ours are far shorter; a hostile one must not make its dead letter too large to be written.
const KEY_BYTES_MAX: usize = 512;

/// Writes to the `dead-letters` topic.
pub(crate) struct DeadLetterTopic {
    platform: Arc<Platform>,
    role: &'static str,
}

impl DeadLetterTopic {
    pub(crate) const fn new(platform: Arc<Platform>, role: &'static str) -> Self {
        Self { platform, role }
    }
}

#[async_trait]
impl DeadLetters for DeadLetterTopic {
    async fn bury(&self, record: &Record, poison: &Poison, attempts: u32) -> Result<(), StepError> {
        let place = format!("{}-{}-{}", record.topic, record.partition.0, record.offset.0);
        let original = Original {
            key: record.key.to_vec(),
            value: record.value.as_ref().map(|value| value.to_vec()),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| Header { name: name.clone(), value: value.to_vec() })
                .collect(),
        };
        let original = encode(&original).map_err(wire_fault)?;
        let aad = Aad::new("dead-letters", &place, "original");
        let original = self
            .platform
            .vault
            .seal(Purpose::Topic, &aad, &original, &*self.platform.entropy)
            .map_err(|e| vault_fault(&e))?;
        let letter = DeadLetter {
            topic: record.topic.to_string(),
            partition: i32::try_from(record.partition.0).unwrap_or(i32::MAX),
            offset: i64::try_from(record.offset.0).unwrap_or(i64::MAX),
            append_time: record.append_time,
            role: self.role.to_owned(),
            code: poison.code,
            detail: poison.detail.clone(),
            attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
            original: Some(original),
        };
        let key = String::from_utf8_lossy(record.key.get(..KEY_BYTES_MAX).unwrap_or(&record.key)).into_owned();
        let mut to = Outgoing::new(Topic::DeadLetters, &key, format!("{place}:dead"));
        if let Some(trace) = TraceContext::of(&record.headers) {
            to = to.traced(&trace);
        }
        self.platform.publish(to, &letter).await?;
        Ok(())
    }
}
