//! The proof that an action was approved: everything that was signed and shown, in one statement signed by the service.

use ridgeline_domain::RequestId;
use ridgeline_ports::RowKey;
use ridgeline_runtime::StepError;
use ridgeline_vault::evidence::{EVIDENCE_TYPE, Evidence, EvidenceApproval, EvidenceStep};
use ridgeline_vault::{DeviceKey, sha256_hex};
use ridgeline_wire::action_row::{ActionApproval, ActionRow, table};
use ridgeline_wire::auth::AuthReply;
use ridgeline_wire::auth_row::{self, AuthAnswerRow};
use ridgeline_wire::decode;

use super::super::rows::open;
use super::super::{Halt, Work};
use super::damaged;
use crate::platform::{vault_fault, wire_fault};

/// Word of the order.
const ORDER: &str = "evidence";

impl Work<'_> {
    /// The proof of an action, for an operator.
    pub(in super::super) async fn export_evidence(&mut self) -> Result<AuthReply, Halt> {
        let id = *self.needed(&self.command.body.action_id)?;
        self.ordered(ORDER, &id.to_string())?;
        let row = self.action().await?.row;
        self.about.user = Some(row.user.clone());
        let evidence = self.evidence(&row).await?;
        let key = self.auth.keys.at(self.command.now).await?;
        let statement = key.state(EVIDENCE_TYPE, &evidence.to_json()).map_err(|error| vault_fault(&error))?;
        Ok(AuthReply { evidence: Some(statement), ..AuthReply::default() })
    }

    async fn evidence(&self, row: &ActionRow) -> Result<Evidence, Halt> {
        let identity = &self.auth.parts.identity;
        let mut approvals = Vec::with_capacity(row.approvals.len());
        for approval in &row.approvals {
            approvals.push(EvidenceApproval {
                approver: identity.subject(&approval.user),
                device_id: approval.device_id,
                at: approval.at,
                key: self.key_of(row, approval)?,
                signature: self
                    .opened_of(row.action_id, &column(approval, "signature"), &approval.signature)?
                    .expose()
                    .clone(),
            });
        }
        let mut audit = Vec::new();
        let mut requests = vec![row.created_by];
        requests.extend(row.approvals.iter().map(|approval| approval.request_id));
        requests.extend([row.finished_by, row.redeemed_by].into_iter().flatten());
        // The last approval is what finishes it.
        requests.dedup();
        for request in requests {
            audit.push(self.step(request).await?);
        }
        Ok(Evidence {
            issuer: self.auth.parts.config.issuer.clone(),
            exported_at: self.command.now,
            action: row.action_id,
            action_type: row.action_type.clone(),
            payload: self.opened_of(row.action_id, "payload", &row.payload)?.expose().clone(),
            challenge: self.opened_of(row.action_id, "challenge", &row.challenge)?.expose().clone(),
            initiator: identity.subject(&row.user),
            status: row.status,
            required_approvals: row.steps.iter().map(|step| i64::from(step.required)).sum(),
            created_at: row.created_at,
            finished_at: row.finished_at,
            redeemed_at: row.redeemed_at,
            approvals,
            audit,
        })
    }

    fn key_of(&self, row: &ActionRow, approval: &ActionApproval) -> Result<DeviceKey, StepError> {
        let (platform, name) = (&self.auth.platform, column(approval, "public_key"));
        let der = open(platform, table::ACTIONS, &row.action_id.to_string(), &name, &approval.public_key)?;
        DeviceKey::from_spki_der(approval.key_algorithm, der.expose()).map_err(|_| damaged())
    }

    /// The audit event of a step, and the digest of its record while the answer it came from is kept.
    async fn step(&self, request: RequestId) -> Result<EvidenceStep, StepError> {
        let key = RowKey::single(request.to_string());
        let row = self.auth.platform.store.get(auth_row::table::AUTH_ANSWERS, &key).await?;
        let row: Option<AuthAnswerRow> = row.map(|row| decode(&row.value).map_err(wire_fault)).transpose()?;
        Ok(EvidenceStep { event_id: event_id(request), digest: row.map(|row| sha256_hex(&row.audit)) })
    }
}

fn event_id(request: RequestId) -> String {
    format!("{request}:audit")
}

/// Where [`Work::approval`] has put it.
fn column(approval: &ActionApproval, name: &str) -> String {
    format!("approval.{}.{name}", approval.request_id)
}
