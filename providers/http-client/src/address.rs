//! Which addresses belong to everybody, and which to the metadata services of clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the public Internet: not private, local, reserved, or a form of
/// such an address in another notation.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Special networks by their first address and the length of their prefix.
const SPECIAL_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Answers within the machines of one cloud only.
    AZURE,
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

const AZURE: ([u8; 4], u32) = ([168, 63, 129, 16], 32);

/// Where clouds tell a machine its credentials: the whole of the local network of the link, as more
/// than one of its addresses is used, and what others have.
const METADATA_V4: [([u8; 4], u32); 4] = [
    ([169, 254, 0, 0], 16),
    ([100, 100, 100, 200], 32),
    ([192, 0, 0, 192], 32),
    AZURE,
];

fn is_in(address: Ipv4Addr, networks: &[([u8; 4], u32)]) -> bool {
    let bits = address.to_bits();
    networks.iter().any(|(network, length)| {
        let network = Ipv4Addr::from(*network).to_bits();
        (bits ^ network).leading_zeros() >= *length
    })
}

/// Whether an address is one of a metadata service, in whatever notation.
pub(crate) fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_in(address, &METADATA_V4),
        IpAddr::V6(address) => {
            let inner = embedded(address).or_else(|| translated(address));
            let [first, second, ..] = address.segments();
            let is_link_local = first & 0xffc0 == 0xfe80;
            let is_amazon = (first, second) == (0xfd00, 0x0ec2);
            let is_google = address.segments() == [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254];
            is_link_local
                || is_amazon
                || is_google
                || inner.is_some_and(|inner| is_in(inner, &METADATA_V4))
        }
    }
}

/// The older address in forms that are never public, so that it does not matter to others.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let is_one = matches!(
        segments,
        [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 1, ..]
    );
    let bits = u32::from(segments[6]) << 16 | u32::from(segments[7]);
    is_one.then(|| Ipv4Addr::from_bits(bits))
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !is_in(address, &SPECIAL_V4)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = embedded(address) {
        return is_public_v4(inner);
    }
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is handed out; of it, 2001::/23 and the networks for documents are not.
    let is_handed_out = first & 0xe000 == 0x2000;
    let is_protocol = first == 0x2001 && second < 0x0200;
    let is_document = (first == 0x2001 && second == 0x0db8) || first & 0xfff0 == 0x3ff0;
    is_handed_out && !is_protocol && !is_document
}

/// The address of the older kind that a newer one stands for: mapped, translated or tunnelled.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let from =
        |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => from(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for text in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "223.255.255.255",
            "2600::1",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(public(text), "{text}");
        }
    }

    #[test]
    fn others_are_not_in_whatever_notation() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn metadata_services_are_known_in_whatever_notation() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::",
            "::ffff:100.100.100.200",
        ] {
            let address = text.parse().unwrap();
            assert!(is_metadata(address) && !is_public(address), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "8.8.8.8",
            "::1",
            "fd00::1",
            "2600::1",
        ] {
            assert!(!is_metadata(text.parse().unwrap()), "{text}");
        }
    }
}
