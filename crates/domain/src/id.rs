//! Identifiers. Each is its own type, so that no two of them can be confused in a signature.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty or longer than the type allows.
    #[error("must have between 1 and {max} characters")]
    Length {
        /// Longest accepted length in characters.
        max: usize,
    },
    /// A character outside the accepted set.
    #[error("may contain only {allowed}")]
    Character {
        /// The accepted characters in words.
        allowed: &'static str,
    },
}

macro_rules! hex_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 128 bits that came from a secure random source, from such an id, or from the wire.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self { Self(bytes) }

            /// The 128 bits.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> { hex_bytes(text).map(Self) }
        }
    };
}

/// 32 lower-case hexadecimal digits.
fn hex_bytes(text: &str) -> Result<[u8; 16], IdError> {
    const ALLOWED: IdError = IdError::Character { allowed: "lower-case hexadecimal digits" };
    if text.len() != 32 {
        return Err(IdError::Length { max: 32 });
    }
    let mut bytes = [0_u8; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let mut value = 0;
        for digit in pair {
            let nibble = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(ALLOWED),
            };
            value = value << 4 | nibble;
        }
        *byte = value;
    }
    Ok(bytes)
}

hex_id!(
    /// The confirmation id: 128 random bits made by gateway or agent, never taken from a caller. Text form: 32 lower-case hex digits.
    RequestId
);
hex_id!(
    /// A challenge that was handed out, for a registration or a login. Derived from the request that asked for it.
    SessionId
);
hex_id!(
    /// A registered device. Derived from the request that registered it.
    DeviceId
);
hex_id!(
    /// A refresh token family: all tokens that go back to one login. Derived from that login's request.
    FamilyId
);
hex_id!(
    /// A sensitive action that somebody is to confirm. Derived from the request that initiated it.
    ActionId
);

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $max:literal, $allowed:literal, $accepts:expr) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Longest accepted length in characters.
            pub const MAX_CHARS: usize = $max;

            /// The text, as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.is_empty() || text.len() > $max { return Err(IdError::Length { max: $max }); }
                let accepts: fn(u8) -> bool = $accepts;
                if !text.bytes().all(accepts) { return Err(IdError::Character { allowed: $allowed }); }
                Ok(Self(text.to_owned()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:?}", self.0) }
        }
    };
}

text_id!(
    /// Whose biometrics these are: `[A-Za-z0-9_-]{1,100}`.
    SubjectId, 100, "letters, digits, underscore and hyphen",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
);
text_id!(
    /// Who signed a scan: a capture agent, or a gateway as `gateway:<name>`.
    AgentId, 100, "letters, digits, dot, colon, underscore and hyphen",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'.')
);
text_id!(
    /// The device a sample came from.
    ReaderId, 100, "letters, digits, dot, colon, underscore and hyphen",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'.')
);
text_id!(
    /// The public part of an API key.
    ApiKeyId, 64, "letters, digits, underscore and hyphen",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
);

text_id!(
    /// What an installation of an app calls itself: hexadecimal, base64, base64url, a UUID, or words with dots. Unique for a user only.
    DeviceFingerprint, 255, "letters, digits and + / = _ . : -",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'.' | b':' | b'-')
);
text_id!(
    /// The kind of a sensitive action: `[A-Za-z0-9_-]{1,100}`.
    ActionType, 100, "letters, digits, underscore and hyphen",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
);

/// Who signs in: an issuer and its subject, together 3 to 255 characters. Another thing than a [`SubjectId`].
///
/// Text form: `issuer|subject`. The issuer holds no `|`, so the first one divides.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId {
    text: String,
    /// Where `|` stands.
    divide: usize,
}

impl UserId {
    /// Longest text form in characters.
    pub const MAX_CHARS: usize = 255;

    /// Of an issuer (`iss`) and the user's id there (`sub`).
    ///
    /// # Errors
    /// [`IdError`] where one is empty, both are too long together, a character is not printable ASCII, or the issuer holds `|`.
    pub fn new(issuer: &str, subject: &str) -> Result<Self, IdError> {
        if issuer.is_empty() || subject.is_empty() || issuer.len() + subject.len() >= Self::MAX_CHARS {
            return Err(IdError::Length { max: Self::MAX_CHARS });
        }
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(issuer) || !printable(subject) || issuer.contains('|') {
            return Err(IdError::Character { allowed: "printable characters of ASCII; the issuer no |" });
        }
        Ok(Self { text: format!("{issuer}|{subject}"), divide: issuer.len() })
    }

    /// Who vouches for the user.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.text.get(..self.divide).unwrap_or_default()
    }

    /// The user's id with that issuer.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.text.get(self.divide + 1..).unwrap_or_default()
    }

    /// Both, as stored and published.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl FromStr for UserId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (issuer, subject) = text.split_once('|').ok_or(IdError::Character { allowed: "issuer|subject" })?;
        Self::new(issuer, subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ridgeline_testkit::covers;

    #[test]
    fn subject_ids_refuse_separators_length_and_other_scripts() {
        covers!("R-215");
        for bad in ["", "a/b", "a b", "ä", "a\n", &"x".repeat(101)] {
            assert!(bad.parse::<SubjectId>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(100).parse::<SubjectId>().is_ok());
        assert!("Badge_7-b".parse::<SubjectId>().is_ok());
    }

    #[test]
    fn request_ids_have_one_spelling() {
        assert!("0123456789ABCDEF0123456789abcdef".parse::<RequestId>().is_err());
        assert!("0123".parse::<RequestId>().is_err());
    }

    #[test]
    fn a_user_id_is_divided_at_its_first_bar() {
        let user = UserId::new("https://id.example", "auth0|17").unwrap();
        assert_eq!((user.issuer(), user.subject()), ("https://id.example", "auth0|17"));
        assert_eq!(user.to_string().parse::<UserId>(), Ok(user));
        for (issuer, subject) in [
            ("", "a"),
            ("a", ""),
            ("a|b", "c"),
            ("a", "b c"),
            ("a", "\u{e4}"),
            ("a", "b\n"),
            (&"x".repeat(250), "abcde"),
        ] {
            assert!(UserId::new(issuer, subject).is_err(), "{issuer} {subject}");
        }
        assert!(UserId::new(&"x".repeat(250), "abcd").is_ok());
        assert!("no bar".parse::<UserId>().is_err());
    }

    #[test]
    fn device_fingerprints_come_in_several_forms() {
        covers!("R-082");
        for good in [
            "9f86d081884c7d65",
            "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            "3f0e8a3e-6e3e-4b0c-9b3a-0d9f5c6f7a11",
            "com.example.app:pixel-7",
            "a_b",
        ] {
            assert!(good.parse::<DeviceFingerprint>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "\u{e4}", "a\0", &"f".repeat(256)] {
            assert!(bad.parse::<DeviceFingerprint>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn request_ids_survive_their_text(bytes: [u8; 16]) {
            let id = RequestId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<RequestId>(), Ok(id));
        }
    }
}
