//! IP packets on their way over a link.

use crate::payload::Payload;

/// ECN codepoint of packets that met congestion, and the two bits of the field (RFC 3168, section 5).
const CONGESTION_EXPERIENCED: u8 = 0b11;
/// Shortest IPv4 header (RFC 791, section 3.1).
const IPV4_HEADER_BYTES: usize = 20;
/// The fixed header of IPv6 (RFC 8200, section 3).
const IPV6_HEADER_BYTES: usize = 40;

/// A packet as it is read from a device: the bytes of its IP header and everything behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IpPacket(pub(super) Vec<u8>);

impl IpPacket {
    /// Length of the IP header (with IPv4 options, without IPv6 extension headers); 0 for what is neither.
    fn header_len(&self) -> usize {
        match self.0.first().map(|first| (first >> 4, first & 0x0f)) {
            Some((4, words)) => usize::from(words) * 4,
            Some((6, _)) => IPV6_HEADER_BYTES,
            _ => 0,
        }
    }
}

impl Payload for IpPacket {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the IP header carries: damage to the header itself would be nothing but loss.
    fn bytes_mut(&mut self) -> &mut [u8] {
        let header_len = self.header_len();
        self.0.get_mut(header_len..).unwrap_or_default()
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// None: its headers are among its bytes.
    fn header_bytes(&self) -> u32 {
        0
    }

    fn mark_congestion_experienced(&mut self) -> bool {
        match self.0.first().map(|first| first >> 4) {
            Some(4) if self.0.len() >= IPV4_HEADER_BYTES => mark_ipv4(&mut self.0),
            Some(6) if self.0.len() >= IPV6_HEADER_BYTES => mark_ipv6(&mut self.0),
            _ => false,
        }
    }
}

/// Marks a packet with a whole IPv4 header, and brings its checksum up to date.
fn mark_ipv4(bytes: &mut [u8]) -> bool {
    let [
        version,
        service,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        sum_high,
        sum_low,
        ..,
    ] = bytes
    else {
        return false;
    };
    if *service & CONGESTION_EXPERIENCED == 0 {
        return false;
    }
    let before = u16::from_be_bytes([*version, *service]);
    *service |= CONGESTION_EXPERIENCED;
    let after = u16::from_be_bytes([*version, *service]);
    let checksum = u16::from_be_bytes([*sum_high, *sum_low]);
    [*sum_high, *sum_low] = updated_checksum(checksum, before, after).to_be_bytes();
    true
}

/// The checksum after one word has changed (RFC 1624, section 3, equation 3).
fn updated_checksum(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    // Folded twice, it fits.
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// Marks a packet with a whole IPv6 header: the two bits are the last of the traffic class, which has
/// its lower half in the second byte.
fn mark_ipv6(bytes: &mut [u8]) -> bool {
    let Some(second) = bytes.get_mut(1) else {
        return false;
    };
    let capable = *second & (CONGESTION_EXPERIENCED << 4) != 0;
    if capable {
        *second |= CONGESTION_EXPERIENCED << 4;
    }
    capable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The one's complement sum over a header, 0xffff if its checksum is right (RFC 1071).
    fn sum(header: &[u8]) -> u32 {
        let words = header.chunks_exact(2);
        let sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        (folded & 0xffff) + (folded >> 16)
    }

    /// An IPv4 packet with this type of service, a right checksum and otherwise any content.
    fn ipv4(random: &mut Random, service: u8) -> IpPacket {
        let mut bytes: Vec<u8> = (0..28)
            .map(|_| random.below(256).to_le_bytes()[0])
            .collect();
        bytes[..2].copy_from_slice(&[0x45, service]);
        bytes[10..12].fill(0);
        let checksum = !u16::try_from(sum(&bytes[..20])).unwrap();
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        IpPacket(bytes)
    }

    #[test]
    fn marks_keep_the_checksum_right() {
        let mut random = Random::stream(3, 1);
        for service in 0..=255 {
            for _ in 0..20 {
                let mut packet = ipv4(&mut random, service);
                let before = packet.clone();
                let capable = service & 0b11 != 0;
                assert_eq!(packet.mark_congestion_experienced(), capable);
                let marked = if capable { service | 0b11 } else { service };
                assert_eq!(packet.0[1], marked);
                assert_eq!(sum(&packet.0[..20]), 0xffff, "{before:?}");
                assert_eq!(packet.0[20..], before.0[20..]);
            }
        }
    }

    #[test]
    fn ipv6_has_the_bits_elsewhere() {
        for (second, expected) in [(0x0f, None), (0x1f, Some(0x3f)), (0xef, Some(0xff))] {
            let mut packet = IpPacket(vec![0; 40]);
            packet.0[..2].copy_from_slice(&[0x6a, second]);
            assert_eq!(packet.mark_congestion_experienced(), expected.is_some());
            assert_eq!(packet.0[..2], [0x6a, expected.unwrap_or(second)]);
        }
    }

    #[test]
    fn what_is_no_whole_packet_is_left_alone() {
        for bytes in [vec![], vec![0x45; 19], vec![0x6f; 39], vec![0xff; 60]] {
            assert!(!IpPacket(bytes).mark_congestion_experienced());
        }
    }

    #[test]
    fn damage_spares_the_ip_header() {
        let damageable = |bytes: &[u8]| IpPacket(bytes.to_vec()).bytes_mut().len();
        assert_eq!(damageable(&[0x45; 28]), 8);
        assert_eq!(damageable(&[0x46; 28]), 4);
        assert_eq!(damageable(&[0x60; 48]), 8);
        assert_eq!(damageable(&[0x45; 10]), 0);
        assert_eq!(damageable(&[0x11; 10]), 10);
        assert_eq!(damageable(&[]), 0);
    }
}
