//! What a key is for. Keys of different purposes never open each other's ciphertexts.

/// The use of a key. The code stands in every ciphertext, so codes are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Biometric templates, in the store, in `gallery` and in the hands of callers.
    Template = 1,
    /// Stored answers that hold tokens.
    Answer = 2,
    /// Commands to the auth workers.
    Command = 3,
    /// Values on internal topics and in dead letters.
    Topic = 4,
    /// The spool of an agent.
    Spool = 5,
    /// Single columns: public keys of devices, payloads, audit details.
    Field = 6,
    /// Private keys that sign tokens.
    JwtWrap = 7,
    /// Grants that let an agent enrol or delete.
    AgentGrant = 8,
}

impl Purpose {
    /// Every purpose, by code.
    pub const ALL: &'static [Self] = &[
        Self::Template,
        Self::Answer,
        Self::Command,
        Self::Topic,
        Self::Spool,
        Self::Field,
        Self::JwtWrap,
        Self::AgentGrant,
    ];

    /// The byte that stands in a ciphertext.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The purpose of a byte from a ciphertext; `None` for a code of no purpose.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|purpose| purpose.code() == code)
    }

    /// The word in the key ring file and in associated data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Answer => "answer",
            Self::Command => "command",
            Self::Topic => "topic",
            Self::Spool => "spool",
            Self::Field => "field",
            Self::JwtWrap => "jwt-wrap",
            Self::AgentGrant => "agent-grant",
        }
    }

    /// The purpose of a word; `None` for any other.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|purpose| purpose.as_str() == word)
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_are_fixed_and_find_their_way_back() {
        let table: Vec<_> = Purpose::ALL.iter().map(|purpose| (purpose.code(), purpose.as_str())).collect();
        let words = ["template", "answer", "command", "topic", "spool", "field", "jwt-wrap", "agent-grant"];
        assert_eq!(table, (1..).zip(words).collect::<Vec<_>>());
        for &purpose in Purpose::ALL {
            assert_eq!(Purpose::from_code(purpose.code()), Some(purpose));
            assert_eq!(Purpose::from_word(purpose.as_str()), Some(purpose));
        }
        assert_eq!(Purpose::from_code(0), None);
        assert_eq!(Purpose::from_code(9), None);
        assert_eq!(Purpose::from_word("Template"), None);
    }
}
