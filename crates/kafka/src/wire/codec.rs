//! Fields of requests and answers: big endian, texts behind 16-bit and lists behind 32-bit lengths.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ridgeline_ports::LogError;

/// Writes a request.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn i8(&mut self, value: i8) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn i16(&mut self, value: i16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// A text of at most 32 767 bytes; names are shorter everywhere.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let text = text.get(..usize::try_from(i16::MAX).unwrap_or(0)).unwrap_or(text);
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.extend(text.as_bytes());
        self
    }

    /// No text.
    pub(super) fn absent(&mut self) -> &mut Self {
        self.i16(-1)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.extend(bytes);
        self
    }

    /// The length of a list.
    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX))
    }

    pub(super) fn followed_by(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// With its length in front.
    pub(super) fn framed(self) -> Result<Vec<u8>, LogError> {
        let length = i32::try_from(self.0.len());
        let length = length.map_err(|_| LogError::Unavailable("a request that is too long".into()))?;
        Ok([&length.to_be_bytes()[..], &self.0].concat())
    }

    #[cfg(test)]
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads an answer; anything that is not there is an error.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], LogError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], LogError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(cut)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn i8(&mut self) -> Result<i8, LogError> {
        self.chunk().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, LogError> {
        self.chunk().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, LogError> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// A text that may be missing.
    pub(super) fn text(&mut self) -> Result<Option<String>, LogError> {
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let bytes = self.take(usize::try_from(length).map_err(|_| cut())?)?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| cut())
    }

    /// A text that must be there.
    pub(super) fn required(&mut self) -> Result<String, LogError> {
        self.text()?.ok_or_else(cut)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], LogError> {
        let length = self.i32()?;
        self.take(usize::try_from(length).map_err(|_| cut())?)
    }

    /// The length of a list; a list that is missing is empty.
    pub(super) fn count(&mut self) -> Result<usize, LogError> {
        match self.i32()? {
            -1 => Ok(0),
            count => usize::try_from(count).map_err(|_| cut()),
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), LogError> {
        if self.0.is_empty() { Ok(()) } else { Err(cut()) }
    }
}

fn cut() -> LogError {
    LogError::Unavailable("the broker's answer cannot be read".into())
}
