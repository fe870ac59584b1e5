//! Evidence that an action was approved: one compact JWS (RFC 7515) that holds what was shown, what was signed, the keys and the
//! signatures, signed by the service. Who has the file and the service's JWK set can check all of it without the service.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ridgeline_domain::{ActionId, ActionStatus, ActionType, DeviceId, KeyAlgorithm, Timestamp};
use serde_json::{Map, Value, json};

use crate::jose::object;
use crate::token::{STATEMENT_BYTES_MAX, TokenPublicKey};
use crate::{CHALLENGE_RANDOM_BYTES, DeviceKey, DeviceSignature, action_digest};

/// `typ` of the JWS.
pub const EVIDENCE_TYPE: &str = "ridgeline-evidence+jwt";

/// What is proven. Times are milliseconds since the epoch.
pub struct Evidence {
    /// The service.
    pub issuer: String,
    /// When the statement was made.
    pub exported_at: Timestamp,
    /// Which action.
    pub action: ActionId,
    /// Its kind.
    pub action_type: ActionType,
    /// What was to be approved, JSON in canonical form (RFC 8785).
    pub payload: String,
    /// The text that was signed; it ends in the digest of kind and payload.
    pub challenge: String,
    /// Who started it.
    pub initiator: String,
    /// How it ended, or that it has not.
    pub status: ActionStatus,
    /// How many approvals it needs.
    pub required_approvals: i64,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it was decided.
    pub finished_at: Option<Timestamp>,
    /// When its token was used up.
    pub redeemed_at: Option<Timestamp>,
    /// In order.
    pub approvals: Vec<EvidenceApproval>,
    /// Where the audit log speaks of it.
    pub audit: Vec<EvidenceStep>,
}

/// One approval.
pub struct EvidenceApproval {
    /// Who.
    pub approver: String,
    /// With which device.
    pub device_id: DeviceId,
    /// When.
    pub at: Timestamp,
    /// The device's key.
    pub key: DeviceKey,
    /// Over the challenge, base64 or base64url.
    pub signature: String,
}

/// An audit event.
pub struct EvidenceStep {
    /// Its id on the topic `audit`.
    pub event_id: String,
    /// SHA-256 of the record's value, in hex; absent when the step is older than the service keeps its answers.
    pub digest: Option<String>,
}

impl Evidence {
    /// The statement's claims.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
        let approvals: Vec<_> = self.approvals.iter().map(EvidenceApproval::to_json).collect();
        let audit: Vec<_> =
            self.audit.iter().map(|step| json!({ "eventId": step.event_id, "sha256": step.digest })).collect();
        json!({
            "iss": self.issuer,
            "iat": self.exported_at.millis().div_euclid(1_000),
            "confirmationId": self.action.to_string(),
            "actionType": self.action_type.to_string(),
            "actionPayload": self.payload,
            "challenge": self.challenge,
            "initiator": self.initiator,
            "status": self.status.as_str(),
            "requiredApprovals": self.required_approvals,
            "createdAt": self.created_at.millis(),
            "finishedAt": millis(self.finished_at),
            "redeemedAt": millis(self.redeemed_at),
            "approvals": approvals,
            "audit": audit,
        })
    }
}

impl EvidenceApproval {
    fn to_json(&self) -> Value {
        json!({
            "approver": self.approver,
            "deviceId": self.device_id.to_string(),
            "at": self.at.millis(),
            "keyAlgorithm": self.key.algorithm().as_str(),
            "publicKey": STANDARD.encode(self.key.spki_der()),
            "signature": self.signature,
        })
    }
}

/// Why evidence proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// No compact JWS of this type.
    #[error("this is not an evidence file")]
    Malformed,
    /// The key set is none, or lacks the key.
    #[error("the key set does not hold the key that signed the file")]
    UnknownKey,
    /// The service's signature does not verify.
    #[error("the service's signature does not verify: the file was changed")]
    Signature,
    /// The challenge does not end in the digest of what is said to have been shown.
    #[error("the challenge that was signed belongs to another action or payload")]
    Digest,
    /// A device's signature does not verify.
    #[error("the signature of approval {0} does not verify")]
    Approval(usize),
    /// Fewer people have signed than must, though it is said to be approved.
    #[error("fewer people have signed than the action needs")]
    TooFew,
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Which action.
    pub action: String,
    /// Its kind.
    pub action_type: String,
    /// What was approved, JSON in canonical form.
    pub payload: String,
    /// How it ended.
    pub status: ActionStatus,
    /// Who approved it, in order.
    pub approvers: Vec<String>,
}

/// Checks a file with the service's JWK set: its signature, that the challenge belongs to the payload, and every approval.
///
/// # Errors
/// [`EvidenceError`]: the first thing that is wrong.
pub fn check_evidence(file: &str, jwks: &str) -> Result<Proven, EvidenceError> {
    let claims = verified(file.trim(), jwks)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(EvidenceError::Malformed);
    let (action_type, payload, challenge) = (text("actionType")?, text("actionPayload")?, text("challenge")?);
    let status: ActionStatus = text("status")?.parse().map_err(|_| EvidenceError::Malformed)?;
    let digest = action_digest(action_type, payload).map_err(|_| EvidenceError::Malformed)?;
    let bytes = URL_SAFE_NO_PAD.decode(challenge).map_err(|_| EvidenceError::Malformed)?;
    if bytes.get(CHALLENGE_RANDOM_BYTES..) != Some(digest.as_slice()) {
        return Err(EvidenceError::Digest);
    }
    let approvals = claims.get("approvals").and_then(Value::as_array).ok_or(EvidenceError::Malformed)?;
    let mut approvers: Vec<String> = Vec::with_capacity(approvals.len());
    for (place, approval) in approvals.iter().enumerate() {
        let approver = approved(approval, challenge).ok_or(EvidenceError::Approval(place + 1))?;
        if !approvers.contains(&approver) {
            approvers.push(approver);
        }
    }
    let required = claims.get("requiredApprovals").and_then(Value::as_u64).ok_or(EvidenceError::Malformed)?;
    if status == ActionStatus::Approved && (approvers.len() as u64) < required.max(1) {
        return Err(EvidenceError::TooFew);
    }
    Ok(Proven {
        action: text("confirmationId")?.to_owned(),
        action_type: action_type.to_owned(),
        payload: payload.to_owned(),
        status,
        approvers,
    })
}

/// The claims of a statement that a key of the set signed.
fn verified(file: &str, jwks: &str) -> Result<Map<String, Value>, EvidenceError> {
    const MALFORMED: EvidenceError = EvidenceError::Malformed;
    if file.len() > STATEMENT_BYTES_MAX {
        return Err(MALFORMED);
    }
    let (signed, signature) = file.rsplit_once('.').ok_or(MALFORMED)?;
    let (header, claims) = signed.split_once('.').ok_or(MALFORMED)?;
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED);
    let header = object(&decoded(header)?).map_err(|_| MALFORMED)?;
    let is = |name: &str, value: &str| header.get(name).and_then(Value::as_str) == Some(value);
    if !is("alg", "ES256") || !is("typ", EVIDENCE_TYPE) {
        return Err(MALFORMED);
    }
    let kid = header.get("kid").and_then(Value::as_str).ok_or(MALFORMED)?;
    let keys = TokenPublicKey::of_jwks(jwks).ok_or(EvidenceError::UnknownKey)?;
    let key = keys.iter().find(|key| key.kid() == kid).ok_or(EvidenceError::UnknownKey)?;
    let signature = DeviceSignature::from_bytes(decoded(signature)?).map_err(|_| EvidenceError::Signature)?;
    key.key().verify(signed.as_bytes(), &signature).map_err(|_| EvidenceError::Signature)?;
    object(&decoded(claims)?).map_err(|_| MALFORMED)
}

/// Who made an approval, if its signature over the challenge verifies.
fn approved(approval: &Value, challenge: &str) -> Option<String> {
    let text = |name: &str| approval.get(name).and_then(Value::as_str);
    let algorithm: KeyAlgorithm = text("keyAlgorithm")?.parse().ok()?;
    let key = DeviceKey::from_spki_der(algorithm, &STANDARD.decode(text("publicKey")?).ok()?).ok()?;
    let signature = DeviceSignature::from_text(text("signature")?).ok()?;
    key.verify(challenge.as_bytes(), &signature).ok()?;
    text("approver").map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;

    use super::*;
    use crate::Challenge;
    use crate::testing::System;
    use crate::token::{Jwks, TokenKey};

    const PAYLOAD: &str = r#"{"amount":50000,"currency":"VND"}"#;
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn evidence() -> Evidence {
        let digest = action_digest("payment_approval", PAYLOAD).unwrap();
        let challenge = Challenge::for_action(&System, &digest).text().to_owned();
        let phone = SigningKey::from_slice(&[7; 32]).unwrap();
        let der = phone.verifying_key().to_public_key_der().unwrap();
        let signature: p256::ecdsa::Signature = phone.sign(challenge.as_bytes());
        let approval = EvidenceApproval {
            approver: "linh".to_owned(),
            device_id: DeviceId::from_bytes([1; 16]),
            at: NOW,
            key: DeviceKey::from_spki_der(KeyAlgorithm::Es256, der.as_bytes()).unwrap(),
            signature: STANDARD.encode(signature.to_bytes()),
        };
        Evidence {
            issuer: "ridgeline".to_owned(),
            exported_at: NOW,
            action: ActionId::from_bytes([2; 16]),
            action_type: "payment_approval".parse().unwrap(),
            payload: PAYLOAD.to_owned(),
            challenge,
            initiator: "linh".to_owned(),
            status: ActionStatus::Approved,
            required_approvals: 1,
            created_at: NOW,
            finished_at: Some(NOW),
            redeemed_at: None,
            approvals: vec![approval],
            audit: vec![EvidenceStep { event_id: "x:audit".to_owned(), digest: None }],
        }
    }

    #[test]
    fn a_file_proves_what_was_signed_and_nothing_else() {
        let key = TokenKey::generate(&System).unwrap();
        let jwks = Jwks(vec![key.public().clone()]).to_json();
        let file = key.state(EVIDENCE_TYPE, &evidence().to_json()).unwrap();
        let proven = check_evidence(&file, &jwks).unwrap();
        assert_eq!((proven.payload.as_str(), proven.status), (PAYLOAD, ActionStatus::Approved));
        assert_eq!(proven.approvers, ["linh"]);

        let other = Jwks(vec![TokenKey::generate(&System).unwrap().public().clone()]).to_json();
        assert_eq!(check_evidence(&file, &other), Err(EvidenceError::UnknownKey));
        assert_eq!(check_evidence(&file, "{}"), Err(EvidenceError::UnknownKey));
        let says = |change: fn(&mut Evidence)| {
            let mut changed = evidence();
            change(&mut changed);
            check_evidence(&key.state(EVIDENCE_TYPE, &changed.to_json()).unwrap(), &jwks)
        };
        // Even the service itself cannot say so.
        assert_eq!(says(|e| e.payload = PAYLOAD.replace("50000", "90000")), Err(EvidenceError::Digest));
        assert_eq!(says(|e| e.action_type = "user_access".parse().unwrap()), Err(EvidenceError::Digest));
        assert_eq!(says(|e| e.approvals[0].signature = STANDARD.encode([1; 64])), Err(EvidenceError::Approval(1)));
        assert_eq!(says(|e| e.required_approvals = 2), Err(EvidenceError::TooFew));
        assert_eq!(says(|e| e.approvals.clear()), Err(EvidenceError::TooFew));
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_refused() {
        let key = TokenKey::generate(&System).unwrap();
        let jwks = Jwks(vec![key.public().clone()]).to_json();
        let file = key.state(EVIDENCE_TYPE, &evidence().to_json()).unwrap();
        for end in 0..file.len() {
            assert!(check_evidence(&file[..end], &jwks).is_err(), "{end}");
        }
        let mut bytes = file.clone().into_bytes();
        for place in (0..bytes.len()).step_by(7) {
            let kept = bytes[place];
            bytes[place] = if kept == b'A' { b'B' } else { b'A' };
            assert!(check_evidence(std::str::from_utf8(&bytes).unwrap(), &jwks).is_err(), "{place}");
            bytes[place] = kept;
        }
        let event = key.state("secevent+jwt", &evidence().to_json()).unwrap();
        assert_eq!(check_evidence(&event, &jwks), Err(EvidenceError::Malformed), "another kind of statement");
        assert_eq!(check_evidence(&"a".repeat(300_000), &jwks), Err(EvidenceError::Malformed));
        for typ in ["at+jwt", "AT+JWT", "rt+jwt", "act+jwt"] {
            assert!(key.state(typ, &json!({})).is_err(), "a statement never passes for a token");
        }
    }
}
