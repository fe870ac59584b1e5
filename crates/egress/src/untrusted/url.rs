//! What a caller may name as the place to be called back at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::reach::Reach;
use crate::EgressError;

/// Longest URL, as it came and as it is sent.
pub const URL_BYTES_MAX: usize = 2048;
/// Longest name of a host (RFC 1035, section 2.3.4, as text without the dot at the end).
const NAME_BYTES_MAX: usize = 253;
/// Longest part of a name.
const LABEL_BYTES_MAX: usize = 63;

/// A URL that came with a request and may be called, as far as can be said before its name is resolved.
///
/// `Debug` shows scheme, host and port only: path and query are often what the other side knows its caller by.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackUrl {
    url: Url,
    host: String,
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallbackUrl").field(&self.origin()).finish()
    }
}

impl CallbackUrl {
    /// `https://`, a host, and what may follow it; no user, no fragment, at most [`URL_BYTES_MAX`].
    ///
    /// An address in place of a name is checked here in every spelling; one that a name stands for is checked when it is called.
    ///
    /// # Errors
    /// `BadCallback`, `ForbiddenAddress`.
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        Self::parse_for(text, false)
    }

    /// As [`parse`](Self::parse) for a closed network: `http://` and addresses inside it are taken too.
    ///
    /// # Errors
    /// `BadCallback`, `ForbiddenAddress`.
    pub fn parse_private(text: &str) -> Result<Self, EgressError> {
        Self::parse_for(text, true)
    }

    fn parse_for(text: &str, allow_private: bool) -> Result<Self, EgressError> {
        if text.len() > URL_BYTES_MAX {
            return Err(EgressError::BadCallback("it is too long"));
        }
        spelling(text)?;
        let url = Url::parse(text).map_err(|_| EgressError::BadCallback("it is not a URL"))?;
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(EgressError::BadCallback("it is too long"));
        }
        if url.fragment().is_some() {
            return Err(EgressError::BadCallback("it has a fragment"));
        }
        if url.port() == Some(0) {
            return Err(EgressError::BadCallback("its port is 0"));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        if literal(&host).is_none() {
            name(&host)?;
        }
        let url = Self { url, host };
        url.admit(allow_private)?;
        Ok(url)
    }

    /// Refuses what cannot be called whatever its name resolves to.
    pub(super) fn admit(&self, allow_private: bool) -> Result<(), EgressError> {
        if self.url.scheme() != "https" && !(allow_private && self.url.scheme() == "http") {
            return Err(EgressError::BadCallback("it does not begin with https://"));
        }
        let reach = literal(&self.host).map_or_else(|| of_name(&self.host), Reach::of);
        if reach.is_allowed(allow_private) { Ok(()) } else { Err(self.forbidden()) }
    }

    pub(super) fn forbidden(&self) -> EgressError {
        EgressError::ForbiddenAddress { host: self.host.clone() }
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// The whole URL as it is called, in ASCII. Not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Scheme, host and port: what may be told about it.
    #[must_use]
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// Refuses what parsers of URLs read in different ways, or repair.
fn spelling(text: &str) -> Result<(), EgressError> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(EgressError::BadCallback("it has a space, a control character or a backslash"));
    }
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => rest,
        _ => return Err(EgressError::BadCallback("it does not begin with https://")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(EgressError::BadCallback("it has no host"));
    }
    if authority.contains('@') {
        return Err(EgressError::BadCallback("it has a user or a password"));
    }
    if authority.contains('%') {
        return Err(EgressError::BadCallback("its host is encoded"));
    }
    Ok(())
}

/// A host that is an address. Parsing a URL has turned each spelling of an IPv4 address into the usual one.
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Letters, digits, hyphens, and the underscores that names inside a network may have; the dot at the end is refused, because
/// certificates do not know it.
fn name(host: &str) -> Result<(), EgressError> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.len() <= NAME_BYTES_MAX && host.split('.').all(label) {
        Ok(())
    } else {
        Err(EgressError::BadCallback("its host is not a name or an address"))
    }
}

/// This machine has names of its own (RFC 6761, section 6.3), which some resolvers ask others for.
fn of_name(host: &str) -> Reach {
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.eq_ignore_ascii_case("localhost") { Reach::Inside } else { Reach::Public }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "s3cr3t";

    fn refusal(text: &str) -> EgressError {
        let error = CallbackUrl::parse(text).expect_err(text);
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        error
    }

    #[test]
    fn a_plain_https_address_is_taken_as_it_is() {
        for (text, sent, origin) in [
            ("https://a.example/hook?k=v", "https://a.example/hook?k=v", "https://a.example"),
            ("HTTPS://A.Example:8443", "https://a.example:8443/", "https://a.example:8443"),
            ("https://a.example:443/", "https://a.example/", "https://a.example"),
            ("https://1.1.1.1/", "https://1.1.1.1/", "https://1.1.1.1"),
            ("https://[2606:4700::1111]:444/x", "https://[2606:4700::1111]:444/x", "https://[2606:4700::1111]:444"),
            ("https://[::ffff:8.8.8.8]/", "https://[::ffff:808:808]/", "https://[::ffff:808:808]"),
            ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC", "https://xn--bcher-kva.example"),
            ("https://a.example/@x", "https://a.example/@x", "https://a.example"),
            ("https://notlocalhost/", "https://notlocalhost/", "https://notlocalhost"),
        ] {
            let url = CallbackUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.origin().as_str()), (sent, origin));
        }
    }

    #[test]
    fn what_is_no_plain_https_address_is_refused() {
        for bad in [
            "",
            "https",
            "https:",
            "https://",
            "https:///a.example/",
            "https:/a.example/",
            "https:a.example/",
            "//a.example/",
            "a.example/",
            "http://a.example/s3cr3t",
            "ftp://a.example/s3cr3t",
            "file:///etc/passwd",
            "gopher://a.example/",
            "https://me:s3cr3t@a.example/",
            "https://me@a.example/",
            "https://@a.example/",
            "https://:@a.example/",
            "https://a.example@127.0.0.1/",
            "https://a.example/#s3cr3t",
            "https://a.example/#",
            "https://a.example:0/",
            "https://a.example:00/",
            "https://a.example:65536/",
            "https://a.example:-1/",
            "https://a.example:x/",
            "https://a.example./",
            "https://localhost./",
            "https://a..example/",
            "https://.example/",
            "https://./",
            "https://%31%32%37.0.0.1/",
            "https://a.example%00.b.example/",
            "https://a.example\\@127.0.0.1/",
            "https:\\\\a.example/",
            " https://a.example/",
            "https://a.example/ s3cr3t",
            "https://a.exa\tmple/",
            "https://a.example/\r\nx-injected: s3cr3t",
            "https://a.example\u{a0}/",
            "https://a.example/\u{0}",
            "https://a(b).example/",
            "https://a,b.example/",
            "https://a.1/",
            "https://256.256.256.256/",
            "https://1.2.3.4.5/",
            "https://[fe80::1%25eth0]/",
            "https://[::1/",
            "https://[]/",
            "https://::1/",
        ] {
            let error = refusal(bad);
            assert!(matches!(error, EgressError::BadCallback(_)), "{bad:?}: {error:?}");
            let error = CallbackUrl::parse_private(bad);
            assert!(error.is_err() || bad.starts_with("http:"), "{bad:?}");
        }
    }

    #[test]
    fn an_address_inside_is_found_in_every_spelling() {
        for inside in [
            "127.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.01",
            "127.0.0。1",
            "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
            "①②⑦.⓪.⓪.①",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:0:10.0.0.1]",
            "[64:ff9b::192.168.0.1]",
            "[fd12::1]",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "localhost",
            "LOCALHOST",
            "lo\u{ad}calhost",
            "ⓛocalhost",
            "a.b.localhost",
        ] {
            let text = format!("https://{inside}/s3cr3t?k=s3cr3t");
            assert!(matches!(refusal(&text), EgressError::ForbiddenAddress { .. }), "{inside}");
            assert!(CallbackUrl::parse_private(&text).is_ok(), "{inside}");
            assert!(CallbackUrl::parse_private(&text.replace("https", "http")).is_ok(), "{inside}");
        }
        for never in [
            "0.0.0.0",
            "0",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "224.0.0.1",
            "255.255.255.255",
            "203.0.113.1",
            "168.63.129.16",
            "[::]",
            "[::127.0.0.1]",
            "[::ffff:169.254.169.254]",
            "[2002:7f00:1::1]",
            "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
            "[64:ff9b:1::7f00:1]",
            "[fe80::1]",
            "[ff02::1]",
            "[fd00:ec2::254]",
        ] {
            let text = format!("https://{never}/s3cr3t");
            assert!(matches!(refusal(&text), EgressError::ForbiddenAddress { .. }), "{never}");
            assert!(CallbackUrl::parse_private(&text).is_err(), "{never}");
        }
    }

    #[test]
    fn lengths_end_where_they_should() {
        let head = "https://a.example/";
        let fits = format!("{head}{}", "x".repeat(URL_BYTES_MAX - head.len()));
        assert!(CallbackUrl::parse(&fits).is_ok());
        assert!(matches!(refusal(&format!("{fits}x")), EgressError::BadCallback("it is too long")));
        let grows = format!("{head}{}", "ü".repeat((URL_BYTES_MAX - head.len()) / 2));
        assert!(matches!(refusal(&grows), EgressError::BadCallback("it is too long")));
        assert!(matches!(refusal(&"x".repeat(1 << 20)), EgressError::BadCallback("it is too long")));
        let label = "x".repeat(LABEL_BYTES_MAX);
        let longest = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        assert!(CallbackUrl::parse(&format!("https://{longest}/")).is_ok());
        assert!(matches!(refusal(&format!("https://{longest}x/")), EgressError::BadCallback(_)));
        assert!(matches!(refusal(&format!("https://{label}x.example/")), EgressError::BadCallback(_)));
    }

    #[test]
    fn only_the_origin_of_a_url_is_shown() {
        let url = CallbackUrl::parse("https://a.example:444/s3cr3t?k=s3cr3t").unwrap();
        assert_eq!(format!("{url:?}"), "CallbackUrl(\"https://a.example:444\")");
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_names_a_host_that_may_be_called(text in ".{0,80}", rest in "[!-~]{0,40}") {
            for text in [text.clone(), format!("https://{text}"), format!("https://{rest}"), format!("https://a{rest}")] {
                if let Ok(url) = CallbackUrl::parse(&text) {
                    prop_assert!(url.as_str().starts_with("https://") && url.as_str().is_ascii());
                    prop_assert!(url.admit(false).is_ok());
                    let again = CallbackUrl::parse(url.as_str()).unwrap();
                    prop_assert_eq!(again, url);
                }
            }
        }

        #[test]
        fn an_address_is_refused_by_its_reach_in_every_base(address: u32, mapped: bool) {
            let address = Ipv4Addr::from_bits(address);
            let allowed = Reach::of(IpAddr::V4(address)).is_allowed(false);
            let bits = address.to_bits();
            let [a, b, c, d] = address.octets();
            let spellings = if mapped {
                vec![format!("[::ffff:{address}]"), format!("[64:ff9b::{address}]")]
            } else {
                vec![format!("{address}"), format!("{bits}"), format!("{bits:#x}"), format!("0{bits:o}"), format!("{a:#x}.0{b:o}.{c}.{d:#X}")]
            };
            for host in spellings {
                let parsed = CallbackUrl::parse(&format!("https://{host}/"));
                prop_assert_eq!(parsed.is_ok(), allowed, "{}", host);
            }
        }
    }
}
