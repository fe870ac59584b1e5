//! E-mail addresses as names of users.

/// Longest address (RFC 5321), in bytes.
const EMAIL_BYTES_MAX: usize = 254;

/// What [`normalised_email`] asks for, in words.
pub const EMAIL_RULE: &str =
    "must be an e-mail address: at most 254 bytes, one @ between two parts, neither spaces nor control characters";

/// The address in lower case, as the table of users has it; `None` where the text is none. That it exists is not asked.
#[must_use]
pub fn normalised_email(text: &str) -> Option<String> {
    let email = text.trim_matches(' ').to_lowercase();
    let is_spaced = |c: char| c.is_control() || c.is_whitespace();
    let halves = email.split_once('@').filter(|(local, host)| !local.is_empty() && !host.is_empty());
    let is_valid = email.len() <= EMAIL_BYTES_MAX
        && !email.contains(is_spaced)
        && halves.is_some_and(|(_, host)| !host.contains('@'));
    is_valid.then_some(email)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_parts_and_one_spelling() {
        assert_eq!(normalised_email(" An.Nguyen@Example.VN ").as_deref(), Some("an.nguyen@example.vn"));
        assert_eq!(normalised_email("ĐIỆN@ví-dụ.vn").as_deref(), Some("điện@ví-dụ.vn"));
        let longest = format!("{}@b.vn", "a".repeat(EMAIL_BYTES_MAX - 5));
        assert!(normalised_email(&longest).is_some());
        let too_long = format!("a{longest}");
        for bad in
            ["", "@", "a", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "a\0@b", "a@b\u{a0}c", "\ta@b", too_long.as_str()]
        {
            assert_eq!(normalised_email(bad), None, "{bad:?}");
        }
    }
}
