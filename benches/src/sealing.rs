//! What a request costs in keys: sealed, signed and encoded by a gateway; decoded, verified and opened by a matcher. Nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ridgeline_domain::{AgentId, Operation, Position, Sensitive};
use ridgeline_intake::{RawSample, SampleFormat, ScanOptions, ScanRequest, Signer, prepare};
use ridgeline_ports::{Clock as _, Entropy as _, TopicName, TraceContext};
use ridgeline_runtime::{CpuPool, SystemClock, SystemEntropy};
use ridgeline_vault::{AgentRegistry, KeyRing, SampleOpener, ScanSignature, SigningKey, sealed_digest};
use ridgeline_wire::decode;
use ridgeline_wire::message::Scan;

use crate::{Timed, time};

/// The keys of both sides.
pub struct Sealing {
    signer: Signer,
    opener: SampleOpener,
    agents: AgentRegistry,
}

impl Sealing {
    /// Makes new keys.
    ///
    /// # Errors
    /// A system without randomness.
    pub fn new() -> Result<Arc<Self>> {
        let (ring, key) = (KeyRing::create(&SystemEntropy)?, SigningKey::generate(&SystemEntropy)?);
        let agent: AgentId = "gateway:sealing".parse().context("agent id")?;
        let mut agents = AgentRegistry::new();
        agents.insert(agent.clone(), key.verifying_key(), [Operation::Verify])?;
        let opener = SampleOpener::new(&ring);
        Ok(Arc::new(Self { signer: Signer::new(agent, key, ring.sealing_key()), opener, agents }))
    }

    /// So many requests with `sample`, a sealed template, on `cpu`.
    ///
    /// # Errors
    /// A sample that is none.
    pub async fn time(self: &Arc<Self>, cpu: &CpuPool, sample: &[u8], calls: usize, in_flight: usize) -> Result<Timed> {
        let bytes = Sensitive::new(sample.to_vec());
        let sample = Arc::new(RawSample { format: Some(SampleFormat::Sealed), bytes, dpi: None });
        let (this, cpu) = (self.clone(), cpu.clone());
        time(calls, in_flight, move |_| {
            let (this, cpu, sample) = (this.clone(), cpu.clone(), sample.clone());
            async move { cpu.run(move || this.there_and_back(&sample)).await? }
        })
        .await
    }

    fn there_and_back(&self, sample: &RawSample) -> Result<()> {
        let request = ScanRequest {
            request_id: SystemEntropy.request_id(),
            operation: Operation::Verify,
            subject: Some("bench".parse().context("a subject's id")?),
            reader: None,
            captured_at: SystemClock.now(),
            position: Position::Unknown,
            samples: vec![prepare(sample)?],
            options: ScanOptions::default(),
            metadata: BTreeMap::new(),
            api_key: None,
        };
        let trace = TraceContext::random(&SystemEntropy);
        let record = self.signer.traced_record(TopicName::new("scans"), &request, &trace, &SystemEntropy)?;
        let scan: Scan = decode(&record.value.context("no value")?)?;
        let binding = scan.binding();
        let signature = ScanSignature::new(&binding, scan.reader.clone(), sealed_digest(scan.sealed_parts()));
        self.agents.verify(&signature, &scan.agent_signature)?;
        for part in scan.samples.iter().chain(&scan.details) {
            std::hint::black_box(self.opener.open_sample(&part.key_id, &binding, &part.sealed)?);
        }
        Ok(())
    }
}
