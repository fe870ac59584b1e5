//! Which extractor found a template's minutiae.

use std::borrow::Cow;
use std::fmt;

/// Longest name of an extractor in bytes; name and version stay within what sealed templates hold.
pub const ENGINE_NAME_BYTES_MAX: usize = 32;

/// An extractor by name and version; shown as `name/version`.
///
/// Templates are comparable where both agree, unless somebody measured that they are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Engine {
    name: Cow<'static, str>,
    version: u16,
}

impl Engine {
    /// An engine of this build. The name has to be of the form that [`is_valid_name`](Self::is_valid_name) tells, or no
    /// template can be made with it.
    pub const fn new(name: &'static str, version: u16) -> Self {
        Self { name: Cow::Borrowed(name), version }
    }

    /// An engine named by a template.
    pub(crate) fn named(name: &str, version: u16) -> Self {
        Self { name: Cow::Owned(name.to_owned()), version }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// 1 to [`ENGINE_NAME_BYTES_MAX`] of a–z, 0–9, `-` and `.`.
    pub fn is_valid_name(name: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        (1..=ENGINE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.name, self.version)
    }
}
