//! From where an address can be reached, by the special-purpose registries of IANA (RFC 6890 and what it lists today).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// From everywhere.
    Public,
    /// From this machine or network only. A closed network may call it.
    Inside,
    /// No service of ours or of a caller has it: not a host, link-local (the metadata of cloud machines stands there), kept for
    /// examples, or a form that only a tunnel understands.
    Never,
}

impl Reach {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }

    /// Whether it may be called.
    pub(super) const fn is_allowed(self, allow_private: bool) -> bool {
        match self {
            Self::Public => true,
            Self::Inside => allow_private,
            Self::Never => false,
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Inside,
        // Shared by the customers of a carrier (RFC 6598); the metadata of one cloud stands in it.
        [100, 100, 100, 200] => Reach::Never,
        [100, 64..=127, ..] => Reach::Inside,
        // Measurements (RFC 2544); closed networks use it as theirs.
        [198, 18..=19, ..] => Reach::Inside,
        // This network, link-local, protocols, multicast, reserved, broadcast.
        [0 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0, _] => Reach::Never,
        // Examples (RFC 5737) and the relays of 6to4 (RFC 7526).
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => Reach::Never,
        // Looks public; the host answers there to every machine of one cloud.
        [168, 63, 129, 16] => Reach::Never,
        _ => Reach::Public,
    }
}

/// Only 2000::/3 is given out; of the rest a few forms name an IPv4 address, which counts then.
fn of_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Inside,
        // Mapped (RFC 4291), translated (RFC 2765), behind the well-known NAT64 prefix (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
        // The metadata of two clouds.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => Reach::Never,
        [0xfc00..=0xfdff, ..] => Reach::Inside,
        // Protocols with Teredo and measurements, examples (RFC 3849, RFC 9637), 6to4: tunnels end where the IPv4 address in them says.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2002, ..] => Reach::Never,
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// First address, length of the prefix, and whether a closed network may call it.
    const SPECIAL_V4: &[(&str, u32, bool)] = &[
        ("0.0.0.0", 8, false),
        ("10.0.0.0", 8, true),
        ("100.64.0.0", 10, true),
        ("127.0.0.0", 8, true),
        ("169.254.0.0", 16, false),
        ("172.16.0.0", 12, true),
        ("192.0.0.0", 24, false),
        ("192.0.2.0", 24, false),
        ("192.88.99.0", 24, false),
        ("192.168.0.0", 16, true),
        ("198.18.0.0", 15, true),
        ("198.51.100.0", 24, false),
        ("203.0.113.0", 24, false),
        ("224.0.0.0", 4, false),
        ("240.0.0.0", 4, false),
        ("255.255.255.255", 32, false),
    ];
    const METADATA_V4: &[&str] = &["100.100.100.200", "168.63.129.16"];

    const SPECIAL_V6: &[(&str, u32, bool)] = &[
        ("::", 128, false),
        ("::1", 128, true),
        ("64:ff9b:1::", 48, false),
        ("100::", 64, false),
        ("100:0:0:1::", 64, false),
        ("2001::", 23, false),
        ("2001::", 32, false),
        ("2001:2::", 48, false),
        ("2001:10::", 28, false),
        ("2001:20::", 28, false),
        ("2001:db8::", 32, false),
        ("2002::", 16, false),
        ("3fff::", 20, false),
        ("5f00::", 16, false),
        ("fc00::", 7, true),
        ("fe80::", 10, false),
        ("fec0::", 10, false),
        ("ff00::", 8, false),
    ];

    fn v4(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().to_bits()
    }

    fn v6(text: &str) -> u128 {
        text.parse::<Ipv6Addr>().unwrap().to_bits()
    }

    /// What the table says, found in another way than the code finds it.
    fn expected_v4(address: u32) -> Reach {
        if METADATA_V4.iter().any(|text| v4(text) == address) {
            return Reach::Never;
        }
        let found = SPECIAL_V4.iter().find(|(first, bits, _)| (v4(first) ^ address).leading_zeros() >= *bits);
        found.map_or(Reach::Public, |(_, _, inside)| if *inside { Reach::Inside } else { Reach::Never })
    }

    fn forms(address: u32) -> [(&'static str, u128); 3] {
        let low = u128::from(address);
        [("mapped", v6("::ffff:0:0") | low), ("translated", v6("::ffff:0:0:0") | low), ("NAT64", v6("64:ff9b::") | low)]
    }

    /// Forms that are refused whatever they name.
    fn tunnels(address: u32) -> [(&'static str, u128); 4] {
        let low = u128::from(address);
        [
            ("compatible", low),
            ("6to4", v6("2002::1") | low << 80),
            ("Teredo, client", v6("2001:0:4136:e378:8000:63bf::") | u128::from(!address)),
            ("Teredo, server", v6("2001::63bf:3fff:fdd2") | low << 64),
        ]
    }

    fn check(address: u32) {
        let expected = expected_v4(address);
        let text = Ipv4Addr::from_bits(address);
        assert_eq!(Reach::of(IpAddr::V4(text)), expected, "{text}");
        for (form, bits) in forms(address) {
            assert_eq!(Reach::of(IpAddr::V6(Ipv6Addr::from_bits(bits))), expected, "{form} {text}");
        }
        for (form, bits) in tunnels(address) {
            let reach = Reach::of(IpAddr::V6(Ipv6Addr::from_bits(bits)));
            let loopback = bits == 1;
            assert_eq!(reach, if loopback { Reach::Inside } else { Reach::Never }, "{form} {text}");
        }
    }

    #[test]
    fn every_special_range_ends_where_it_should_in_every_form() {
        for (first, bits, _) in SPECIAL_V4 {
            let first = v4(first);
            let last = first | u32::MAX.checked_shr(*bits).unwrap_or(0);
            for address in [first, first + (last - first) / 2, last, first.wrapping_sub(1), last.wrapping_add(1)] {
                check(address);
            }
        }
        for text in METADATA_V4 {
            for address in [v4(text) - 1, v4(text), v4(text) + 1] {
                check(address);
            }
        }
        for public in
            ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.15.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255"]
        {
            assert_eq!(Reach::of(public.parse().unwrap()), Reach::Public, "{public}");
        }
    }

    #[test]
    fn ranges_of_ipv6_are_refused_and_their_neighbours_are_not() {
        for (first, bits, inside) in SPECIAL_V6 {
            let first = v6(first);
            let last = first | u128::MAX.checked_shr(*bits).unwrap_or(0);
            let expected = if *inside { Reach::Inside } else { Reach::Never };
            for address in [first, first + (last - first) / 2, last] {
                let address = Ipv6Addr::from_bits(address);
                assert_eq!(Reach::of(IpAddr::V6(address)), expected, "{address}");
            }
        }
        for never in ["fd00:ec2::254", "fd20:ce::254", "4000::1", "1fff::1", "fbff::1", "fe00::1", "::2"] {
            assert_eq!(Reach::of(never.parse().unwrap()), Reach::Never, "{never}");
        }
        for public in [
            "2000::1",
            "2001:200::1",
            "2001:db7:ffff::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700::1111",
            "3ffe::1",
            "3fff:1000::1",
        ] {
            assert_eq!(Reach::of(public.parse().unwrap()), Reach::Public, "{public}");
        }
    }

    #[test]
    fn a_closed_network_opens_what_is_inside_and_nothing_else() {
        assert!(Reach::Public.is_allowed(false) && Reach::Public.is_allowed(true));
        assert!(!Reach::Inside.is_allowed(false) && Reach::Inside.is_allowed(true));
        assert!(!Reach::Never.is_allowed(false) && !Reach::Never.is_allowed(true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn an_address_is_judged_as_its_range_in_every_form(range in 0..SPECIAL_V4.len(), host: u32, anywhere: u32) {
            let (first, bits, _) = SPECIAL_V4[range];
            check(v4(first) | (host & u32::MAX.checked_shr(bits).unwrap_or(0)));
            check(anywhere);
        }

        #[test]
        fn nothing_outside_what_is_given_out_is_public(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            if Reach::of(IpAddr::V6(address)) == Reach::Public {
                prop_assert_eq!(bits >> 125, 1, "{} is not in 2000::/3", address);
            }
        }
    }
}
