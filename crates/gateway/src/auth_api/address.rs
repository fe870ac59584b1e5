//! From where a call comes: the peer of its connection, or what a trusted proxy says of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Hops that are followed back; whoever is further away counts as the last of them.
const HOPS_MAX: usize = 16;
const USER_AGENT_CHARS_MAX: usize = 255;

/// Proxies whose `X-Forwarded-For` is believed: an address, or a network as `address/bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedProxy {
    /// IPv4 addresses lie in `::ffff:0:0/96`.
    network: u128,
    mask: u128,
}

/// The text is neither an address nor a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is neither an IP address nor a network such as 10.0.0.0/8")]
pub struct TrustedProxyError;

impl TrustedProxy {
    fn holds(self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.network
    }
}

impl FromStr for TrustedProxy {
    type Err = TrustedProxyError;

    fn from_str(text: &str) -> Result<Self, TrustedProxyError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(length.parse::<u32>().map_err(|_| TrustedProxyError)?))
            }
            Some(_) => return Err(TrustedProxyError),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| TrustedProxyError)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(width);
        if length > width {
            return Err(TrustedProxyError);
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        // What stands before an IPv4 address in its IPv6 form must be equal too.
        let mask = if address.is_ipv4() { mask | !u128::from(u32::MAX) } else { mask };
        Ok(Self { network: bits(address) & mask, mask })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Who called. The header counts only as far back as trusted proxies wrote it; the address before the last of them is the caller's.
pub(super) fn of(parts: &Parts, trusted: &[TrustedProxy]) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let mut caller = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip().to_canonical());
    let is_trusted = |address: IpAddr| trusted.iter().any(|proxy| proxy.holds(address));
    let mut hops = hops(&parts.headers).take(HOPS_MAX);
    while is_trusted(caller) {
        let Some(Ok(before)) = hops.next().map(|hop| hop.parse::<IpAddr>()) else { break };
        caller = before.to_canonical();
    }
    caller
}

/// The nearest first.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(str::trim)
}

/// What belongs together at an address: one IPv4 address, or the network of 64 bits that one site has of IPv6.
pub(super) fn site(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => (address.to_bits() >> 64 << 64).to_be_bytes(),
    }
}

/// The printable characters of `User-Agent`.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let bytes = headers.get(header::USER_AGENT)?.as_bytes();
    let printable = bytes.iter().filter(|byte| (0x20..=0x7e).contains(*byte)).take(USER_AGENT_CHARS_MAX);
    let text: String = printable.copied().map(char::from).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn caller(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut request = Request::builder();
        for line in forwarded {
            request = request.header(FORWARDED_FOR, *line);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        let trusted: Vec<TrustedProxy> = trusted.iter().map(|proxy| proxy.parse().unwrap()).collect();
        of(&parts, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(caller("192.0.2.1", &["10.0.0.1"], &[]), "192.0.2.1");
        assert_eq!(caller("192.0.2.1", &["10.0.0.1"], &["192.0.2.2"]), "192.0.2.1");
        assert_eq!(caller("192.0.2.1", &["198.51.100.7"], &["192.0.2.1"]), "198.51.100.7");
        assert_eq!(caller("::ffff:192.0.2.1", &["198.51.100.7"], &["192.0.2.0/24"]), "198.51.100.7");
    }

    #[test]
    fn what_the_caller_wrote_itself_does_not_count() {
        let trusted = ["192.0.2.0/24"];
        assert_eq!(caller("192.0.2.1", &["203.0.113.9, 198.51.100.7"], &trusted), "198.51.100.7");
        assert_eq!(caller("192.0.2.1", &["203.0.113.9", "198.51.100.7, 192.0.2.5"], &trusted), "198.51.100.7");
        assert_eq!(caller("192.0.2.1", &["203.0.113.9, nonsense"], &trusted), "192.0.2.1");
        assert_eq!(caller("192.0.2.1", &[], &trusted), "192.0.2.1");
        let many = vec!["192.0.2.9"; 40].join(",");
        assert_eq!(caller("192.0.2.1", &[&many], &trusted), "192.0.2.9");
    }

    #[test]
    fn networks_are_read_strictly() {
        for good in ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "2001:db8::/32", "::/0"] {
            assert!(good.parse::<TrustedProxy>().is_ok(), "{good}");
        }
        for bad in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "proxy", "10.0.0.0/8/8", "/8"] {
            assert!(bad.parse::<TrustedProxy>().is_err(), "{bad}");
        }
        let everything: TrustedProxy = "0.0.0.0/0".parse().unwrap();
        assert!(everything.holds("203.0.113.9".parse().unwrap()));
        assert!(!everything.holds("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_site_has_64_bits_of_ipv6() {
        let site = |text: &str| site(text.parse().unwrap());
        assert_eq!(site("2001:db8::1"), site("2001:db8::ffff:1"));
        assert_ne!(site("2001:db8::1"), site("2001:db8:0:1::1"));
        assert_ne!(site("192.0.2.1"), site("192.0.2.2"));
        assert_eq!(site("192.0.2.1"), site("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_user_agent_is_printable_and_short() {
        let agent = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, axum::http::HeaderValue::from_bytes(value).unwrap());
            user_agent(&headers)
        };
        assert_eq!(agent("phone/1 \u{e9}\t(x)".as_bytes()).as_deref(), Some("phone/1 (x)"));
        assert_eq!(agent(b"").as_deref(), None);
        assert_eq!(agent(&[b'a'; 300]).map(|text| text.len()), Some(255));
    }
}
