//! Words about registered devices and what they do.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::{DurationMs, Timestamp, words};

words! {
    /// How a device signs. Fixed when its key is registered; a signature does not name it.
    KeyAlgorithm as "key algorithm" {
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and 32 bytes of salt.
        Ps256 = "PS256",
    }
}

words! {
    /// What kind of machine a device is.
    DeviceType as "device type" {
        /// A phone.
        Mobile = "mobile",
        /// A computer.
        Desktop = "desktop",
        /// A tablet.
        Tablet = "tablet",
    }
}

words! {
    /// How much a session on a device is worth. Ordered.
    TrustLevel as "trust level" {
        /// A desktop's key, or a device that was not used for long.
        Low = "low",
        /// Everything between.
        Medium = "medium",
        /// A phone in use with a modern key that also proves possession.
        High = "high",
    }
}

words! {
    /// Whether a token is worth anything without a key.
    Binding as "binding" {
        /// Whoever holds it may use it.
        None = "none",
        /// Only with a proof by the device's second key (RFC 9449).
        Dpop = "dpop",
    }
}

words! {
    /// The language a device's user reads.
    Language as "language" {
        /// Vietnamese.
        Vi = "vi",
        /// English.
        En = "en",
    }
}

words! {
    /// What is asked of the auth workers, as it stands in commands, decisions and metrics.
    AuthOperation as "auth operation" {
        /// A challenge for a new device.
        RegisterChallenge = "register_challenge",
        /// The answer to it: the device is registered.
        Register = "register",
        /// A challenge for a registered device.
        LoginChallenge = "login_challenge",
        /// The answer to it: tokens.
        Login = "login",
        /// New tokens for a refresh token.
        Refresh = "refresh",
        /// A device and all its tokens go.
        RemoveDevice = "remove_device",
        /// Where notifications of a device go.
        SetPushToken = "set_push_token",
        /// A user of the service's own signs in with a password.
        WebLogin = "web_login",
        /// A user starts an action that must be approved.
        InitiateAction = "initiate_action",
        /// A device signs the challenge of an action.
        ApproveAction = "approve_action",
        /// Somebody who may says no to an action.
        RejectAction = "reject_action",
        /// The initiating client uses the token of an approved action up.
        RedeemAction = "redeem_action",
        /// A device has been shown an action.
        ReceiveAction = "receive_action",
        /// The time of something is over.
        Expire = "expire",
        /// An operator ends tokens before their time.
        Revoke = "revoke",
        /// An operator wants the proof of an action.
        ExportEvidence = "export_evidence",
    }
}

impl AuthOperation {
    /// Name of its audit event.
    #[must_use]
    pub fn event_type(self) -> String {
        format!("auth.{self}")
    }
}

words! {
    /// Why the auth workers refused. What callers see of it is its [`crate::ErrorCode`]; the word itself stands in audit and decisions.
    Refusal as "refusal" {
        /// The credential of the command does not verify, or is not for this.
        BadCredential = "bad_credential",
        /// There is no such session.
        UnknownSession = "unknown_session",
        /// The challenge was answered too late.
        ChallengeExpired = "challenge_expired",
        /// The challenge was answered before.
        ChallengeUsed = "challenge_used",
        /// The signature verifies under no key in question.
        BadSignature = "bad_signature",
        /// The proof of possession is missing or wrong.
        BadProof = "bad_proof",
        /// The proof of possession was used before.
        ProofUsed = "proof_used",
        /// The key is none that may be registered.
        KeyRefused = "key_refused",
        /// The key is registered for another installation.
        KeyInUse = "key_in_use",
        /// The user has as many devices as allowed.
        TooManyDevices = "too_many_devices",
        /// No such device, or another user's.
        UnknownDevice = "unknown_device",
        /// The token, its family, device or session was revoked.
        Revoked = "revoked",
        /// The token is over.
        TokenExpired = "token_expired",
        /// A refresh token came back that was replaced already: its family ends.
        RefreshTokenReused = "refresh_token_reused",
        /// A refresh token came from another device than its own: its family ends.
        ForeignDevice = "foreign_device",
        /// The command's fields break a rule.
        Invalid = "invalid",
        /// No such action, or not the caller's.
        UnknownAction = "unknown_action",
        /// The caller may see the action, but not do this.
        NotAllowed = "not_allowed",
        /// The action is approved, rejected, expired or redeemed already.
        ActionFinal = "action_final",
        /// The user has as many actions waiting as allowed.
        TooManyPending = "too_many_pending",
        /// Nobody, or not enough, could approve the action.
        ApproversMissing = "approvers_missing",
        /// No rule of the policy covers the action.
        ActionNotCovered = "action_not_covered",
        /// The code that the initiating client shows was typed wrongly.
        WrongDisplayCode = "wrong_display_code",
    }
}

impl Refusal {
    /// What a caller is told. All that has to do with credentials looks alike.
    #[must_use]
    pub const fn code(self) -> crate::ErrorCode {
        use crate::ErrorCode;
        match self {
            Self::BadCredential
            | Self::UnknownSession
            | Self::ChallengeExpired
            | Self::ChallengeUsed
            | Self::BadSignature
            | Self::BadProof
            | Self::ProofUsed
            | Self::Revoked
            | Self::TokenExpired
            | Self::RefreshTokenReused
            | Self::ForeignDevice => ErrorCode::CredentialRefused,
            Self::KeyRefused => ErrorCode::DeviceKeyRefused,
            Self::KeyInUse => ErrorCode::DeviceKeyInUse,
            Self::TooManyDevices => ErrorCode::TooManyDevices,
            Self::UnknownDevice | Self::UnknownAction => ErrorCode::NotFound,
            Self::Invalid => ErrorCode::MalformedRequest,
            Self::NotAllowed => ErrorCode::NotAnApprover,
            Self::ActionFinal => ErrorCode::ActionFinal,
            Self::TooManyPending => ErrorCode::TooManyPending,
            Self::ApproversMissing => ErrorCode::ApproversMissing,
            Self::ActionNotCovered => ErrorCode::ActionNotCovered,
            Self::WrongDisplayCode => ErrorCode::DisplayCodeWrong,
        }
    }

    /// How loud its audit event is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::RefreshTokenReused | Self::ForeignDevice => Severity::Critical,
            Self::BadCredential
            | Self::BadSignature
            | Self::BadProof
            | Self::ProofUsed
            | Self::ChallengeUsed
            | Self::NotAllowed
            | Self::WrongDisplayCode => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

words! {
    /// How much attention an audit event wants.
    Severity as "severity" {
        /// For developers.
        Debug = "debug",
        /// As usual.
        Info = "info",
        /// Should not happen often.
        Warning = "warning",
        /// Something failed that should not.
        Error = "error",
        /// Somebody must look now.
        Critical = "critical",
    }
}

/// How a device's owner calls it: 1–255 letters and marks of any script, digits, white space, hyphens, apostrophes. Kept in NFC.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceName(String);

/// Why a text is no device name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceNameError {
    /// Empty or too long.
    #[error("must have between 1 and 255 characters")]
    Length,
    /// A character that is none of those.
    #[error("may contain only letters of any script, digits, spaces, hyphens and apostrophes")]
    Character,
}

impl DeviceName {
    /// Longest name in characters, after composition.
    pub const MAX_CHARS: usize = 255;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for DeviceName {
    type Err = DeviceNameError;

    fn from_str(text: &str) -> Result<Self, DeviceNameError> {
        // A composed character comes from a few; what is longer by far is not composed first.
        if text.len() > Self::MAX_CHARS * 16 {
            return Err(DeviceNameError::Length);
        }
        let name: String = text.nfc().collect();
        if name.trim().is_empty() || name.chars().count() > Self::MAX_CHARS {
            return Err(DeviceNameError::Length);
        }
        let accepts =
            |c: char| c.is_alphanumeric() || is_combining_mark(c) || matches!(c, ' ' | '-' | '\'' | '\u{2019}');
        if name.chars().all(accepts) { Ok(Self(name)) } else { Err(DeviceNameError::Character) }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// When a device counts as used recently, or at least now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustPolicy {
    /// Used within this time: recent. Default 7 days.
    pub recent: DurationMs,
    /// Used within this time: moderate. Default 30 days.
    pub moderate: DurationMs,
}

impl Default for TrustPolicy {
    fn default() -> Self {
        Self { recent: DurationMs::from_days(7), moderate: DurationMs::from_days(30) }
    }
}

impl TrustPolicy {
    /// What a session on a device is worth that was last used (or registered) at `last_used`.
    ///
    /// High needs ES256 or PS256, a phone, recent use and a key that proves possession; a desktop, or a device that was not used for
    /// longer than moderate, is low; everything between is medium.
    #[must_use]
    pub fn level(
        &self,
        algorithm: KeyAlgorithm,
        device: DeviceType,
        proves_possession: bool,
        last_used: Timestamp,
        now: Timestamp,
    ) -> TrustLevel {
        let idle = now.since(last_used);
        if idle > self.moderate || device == DeviceType::Desktop {
            TrustLevel::Low
        } else if algorithm != KeyAlgorithm::Rs256
            && device == DeviceType::Mobile
            && proves_possession
            && idle <= self.recent
        {
            TrustLevel::High
        } else {
            TrustLevel::Medium
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_testkit::covers;

    #[test]
    fn every_other_algorithm_is_refused() {
        covers!("R-220");
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(*algorithm));
        }
        let others =
            ["", "none", "None", "NONE", "nOnE", "HS256", "ES384", "RS512", "es256", "ES256 ", "EdDSA", "ECDSA"];
        for word in others {
            let error = word.parse::<KeyAlgorithm>().unwrap_err();
            assert_eq!(error.to_string(), "key algorithm must be one of ES256, RS256, PS256", "{word}");
        }
    }

    #[test]
    fn device_types_are_three() {
        covers!("R-081");
        for word in ["mobile", "desktop", "tablet"] {
            assert!(word.parse::<DeviceType>().is_ok());
        }
        for word in ["", "Mobile", "phone", "watch", "mobile "] {
            assert!(word.parse::<DeviceType>().is_err(), "{word}");
        }
    }

    #[test]
    fn device_names_are_words_of_any_script() {
        covers!("R-217");
        for good in
            ["a", "Điện thoại của Nguyễn", "O'Brien-2", "Nguye\u{302}\u{303}n", "工作手机", "हिन्दी", &"ễ".repeat(255)]
        {
            assert!(good.parse::<DeviceName>().is_ok(), "{good}");
        }
        assert_eq!("Nguye\u{302}\u{303}n".parse::<DeviceName>().unwrap().as_str(), "Nguy\u{1ec5}n");
        for bad in ["", " ", "   ", "a\nb", "a\0", "a\u{202e}b", "<b>", "a/b", "😀", "\u{feff}a", &"a".repeat(256)] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn trust_hangs_on_key_kind_use_and_possession() {
        covers!("R-096");
        covers!("R-097");
        covers!("R-098");
        use DeviceType::{Desktop, Mobile, Tablet};
        use KeyAlgorithm::{Es256, Ps256, Rs256};
        let policy = TrustPolicy::default();
        let days = |days| Timestamp::from_millis(0).plus(DurationMs::from_days(days));
        let level =
            |algorithm, device, possession, idle| policy.level(algorithm, device, possession, days(0), days(idle));
        assert_eq!(level(Es256, Mobile, true, 7), TrustLevel::High);
        assert_eq!(level(Ps256, Mobile, true, 0), TrustLevel::High);
        for (algorithm, device, possession, idle) in [
            (Es256, Mobile, false, 0),
            (Rs256, Mobile, true, 0),
            (Es256, Tablet, true, 0),
            (Es256, Mobile, true, 8),
            (Rs256, Tablet, false, 30),
        ] {
            assert_eq!(level(algorithm, device, possession, idle), TrustLevel::Medium, "{algorithm} {device} {idle}");
        }
        for (device, idle) in [(Desktop, 0), (Mobile, 31), (Tablet, 31)] {
            assert_eq!(level(Es256, device, true, idle), TrustLevel::Low, "{device} {idle}");
        }
        assert!(TrustLevel::Low < TrustLevel::Medium && TrustLevel::Medium < TrustLevel::High);
    }
}
