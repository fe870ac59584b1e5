//! The one encoding of fields in signed and authenticated data, and a bounds-checked reader.

use ridgeline_domain::Timestamp;

use crate::VaultError;

/// Builds `field ‖ field ‖ …`: texts as u16 length and UTF-8, times as i64 milliseconds, all big endian.
///
/// The encoding is injective for a given sequence of field kinds: no two sequences of values share their bytes.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    bytes: Vec<u8>,
    overlong: bool,
}

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends a text; one longer than 65 535 bytes makes [`Fields::finish`] fail.
    pub(crate) fn text(mut self, text: &str) -> Self {
        match u16::try_from(text.len()) {
            Ok(len) => {
                self.bytes.extend_from_slice(&len.to_be_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
            }
            Err(_) => self.overlong = true,
        }
        self
    }

    pub(crate) fn time(self, time: Timestamp) -> Self {
        self.fixed(&time.millis().to_be_bytes())
    }

    /// Appends bytes whose number is fixed by the format.
    pub(crate) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends the fields of another builder.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.bytes.extend_from_slice(&other.bytes);
        self.overlong |= other.overlong;
        self
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, VaultError> {
        if self.overlong {
            return Err(VaultError::TooLong { what: "field", bytes_max: usize::from(u16::MAX) });
        }
        Ok(self.bytes)
    }
}

/// Reads a layout front to back; every shortfall is [`VaultError::Malformed`].
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) const fn malformed(&self) -> VaultError {
        VaultError::Malformed { what: self.what }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], VaultError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], VaultError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed())?;
        self.rest = tail;
        Ok(*head)
    }

    pub(crate) fn expect(&mut self, magic: &[u8]) -> Result<(), VaultError> {
        if self.take(magic.len())? == magic { Ok(()) } else { Err(self.malformed()) }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, VaultError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, VaultError> {
        let len = u16::from_be_bytes(self.array()?);
        std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| self.malformed())
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, VaultError> {
        self.array().map(i64::from_be_bytes).map(Timestamp::from_millis)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_longer_than_its_length_field_is_refused() {
        assert!(Fields::new().text(&"x".repeat(65_535)).finish().is_ok());
        let error = Fields::new().text(&"x".repeat(65_536)).text("y").finish().unwrap_err();
        assert!(matches!(error, VaultError::TooLong { bytes_max: 65_535, .. }));
    }

    proptest! {
        #[test]
        fn fields_read_back_and_never_run_together(texts in proptest::collection::vec(".{0,12}", 0..5), time: i64) {
            let fields = texts.iter().fold(Fields::new(), |fields, text| fields.text(text));
            let bytes = fields.time(Timestamp::from_millis(time)).finish().unwrap();
            let mut cursor = Cursor::new("test", &bytes);
            for text in &texts {
                prop_assert_eq!(cursor.text().unwrap(), text.as_str());
            }
            prop_assert_eq!(cursor.time().unwrap().millis(), time);
            prop_assert!(cursor.rest().is_empty());
        }
    }
}
