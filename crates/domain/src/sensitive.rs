//! A wrapper for what must never be shown.

use zeroize::Zeroize;

/// Holds a template, image, key, token or challenge: no content in `Debug`, no `Display`, no serialisation, zeroised on drop.
///
/// Comparing two values is left out on purpose; use a constant-time comparison where one is needed.
#[derive(Clone)]
pub struct Sensitive<T: Zeroize>(T);

impl<T: Zeroize> Sensitive<T> {
    /// Takes the value into custody.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Callers keep it out of logs, errors, metrics and public topics (P-1).
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> std::fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sensitive(..)")
    }
}

impl<T: Zeroize> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_content() {
        let secret = Sensitive::new(b"ridge".to_vec());
        assert_eq!(format!("{secret:?}"), "Sensitive(..)");
        assert_eq!(secret.expose(), b"ridge");
    }
}
