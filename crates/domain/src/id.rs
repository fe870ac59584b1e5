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

/// The confirmation id: 128 random bits made by gateway or agent, never taken from a caller. Text form: 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// From 128 bits that came from a secure random source (or from the wire).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 128 bits.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
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
        Ok(Self(bytes))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn subject_ids_refuse_separators_length_and_other_scripts() {
        ridgeline_testkit::covers!("R-215");
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

    proptest! {
        #[test]
        fn request_ids_survive_their_text(bytes: [u8; 16]) {
            let id = RequestId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<RequestId>(), Ok(id));
        }
    }
}
