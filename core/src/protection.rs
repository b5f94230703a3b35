//! Seals and opens packets: an AEAD, or CRC-32C in plaintext mode.
//!
//! The nonce is the direction's IV XOR the packet number (as in TLS 1.3, RFC 8446 5.3), which is never reused. Keys of a
//! direction derive from its secret by HKDF-SHA-256, one pair per key phase; the phase's parity stands in the header.

pub use crate::aead::Cipher;
use crate::aead::PacketKey;
use crate::limits::{
    AEAD_TAG_BYTES, CRC_TAG_BYTES, KEY_LIFETIME_LARGE_PACKETS, KEY_LIFETIME_SMALL_PACKETS,
};

/// How the packets of an association are protected; the secrets come over control.
#[derive(Clone)]
pub enum Secrets {
    /// An AEAD with a secret for each direction.
    Aead {
        /// Which one.
        cipher: Cipher,
        /// Server to client.
        down: [u8; 32],
        /// Client to server.
        up: [u8; 32],
    },
    /// CRC-32C only: finds damage, stops no forger.
    Plaintext,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aead { cipher, .. } => write!(formatter, "Aead({cipher:?})"),
            Self::Plaintext => formatter.write_str("Plaintext"),
        }
    }
}

impl Secrets {
    /// The pair for the server: it seals downwards and opens upwards.
    #[must_use]
    pub fn for_server(&self) -> (Sealer, Opener) {
        match self {
            Self::Aead { cipher, down, up } => {
                (Sealer::aead(*cipher, *down), Opener::aead(*cipher, *up))
            }
            Self::Plaintext => (Sealer::Crc, Opener::Crc),
        }
    }

    /// The pair for the client.
    #[must_use]
    pub fn for_client(&self) -> (Sealer, Opener) {
        match self {
            Self::Aead { cipher, down, up } => {
                (Sealer::aead(*cipher, *up), Opener::aead(*cipher, *down))
            }
            Self::Plaintext => (Sealer::Crc, Opener::Crc),
        }
    }

    /// Bytes of the tag behind each packet.
    #[must_use]
    pub const fn tag_bytes(&self) -> usize {
        match self {
            Self::Aead { .. } => AEAD_TAG_BYTES,
            Self::Plaintext => CRC_TAG_BYTES,
        }
    }
}

/// Seals the packets of one direction.
pub enum Sealer {
    /// An AEAD.
    Aead(Box<AeadSealer>),
    /// CRC-32C in the tag's place.
    Crc,
}

/// State of an AEAD sealer.
pub struct AeadSealer {
    cipher: Cipher,
    secret: [u8; 32],
    phase: u32,
    current: PacketKey,
    sealed: u64,
    lifetime: u64,
}

impl Sealer {
    fn aead(cipher: Cipher, secret: [u8; 32]) -> Self {
        Self::Aead(Box::new(AeadSealer {
            cipher,
            current: PacketKey::derive(cipher, &secret, 0),
            secret,
            phase: 0,
            sealed: 0,
            lifetime: KEY_LIFETIME_LARGE_PACKETS,
        }))
    }

    /// Bytes of the tag.
    #[must_use]
    pub const fn tag_bytes(&self) -> usize {
        match self {
            Self::Aead(_) => AEAD_TAG_BYTES,
            Self::Crc => CRC_TAG_BYTES,
        }
    }

    /// Parity of the current key phase, for the header.
    #[must_use]
    pub const fn key_phase(&self) -> bool {
        match self {
            Self::Aead(aead) => aead.phase & 1 == 1,
            Self::Crc => false,
        }
    }

    /// Says how large packets are from now on, which bounds a key's lifetime.
    pub fn set_datagram_bytes(&mut self, bytes: usize) {
        if let Self::Aead(aead) = self {
            aead.lifetime = if bytes <= 2048 {
                KEY_LIFETIME_SMALL_PACKETS
            } else {
                KEY_LIFETIME_LARGE_PACKETS
            };
        }
    }

    /// Changes keys when the current one has served its time. Call between packets, before the header is written.
    pub fn maybe_update(&mut self) {
        if let Self::Aead(aead) = self
            && aead.sealed >= aead.lifetime
        {
            aead.phase += 1;
            aead.sealed = 0;
            aead.current = PacketKey::derive(aead.cipher, &aead.secret, aead.phase);
        }
    }

    /// Shortens the lifetime of keys, so that tests see them change.
    #[doc(hidden)]
    pub fn set_key_lifetime(&mut self, packets: u64) {
        if let Self::Aead(aead) = self {
            aead.lifetime = packets;
        }
    }

    /// Seals `payload`, which lies elsewhere (in the file's map), into `packet`: one pass with AES-128-GCM,
    /// after a copy with AEGIS-128L, whose library works in place.
    /// `packet` is exactly header · room for the payload · room for the tag; the header is written.
    ///
    /// # Panics
    /// When the lengths disagree (a bug of the caller).
    pub fn seal_from(
        &mut self,
        number: u64,
        packet: &mut [u8],
        header_bytes: usize,
        payload: &[u8],
    ) {
        let (header, room) = packet.split_at_mut(header_bytes);
        match self {
            Self::Aead(aead) => {
                aead.sealed += 1;
                aead.current.seal_from(number, header, payload, room);
            }
            Self::Crc => {
                room[..payload.len()].copy_from_slice(payload);
                let (covered, tag) = packet.split_at_mut(header_bytes + payload.len());
                tag.copy_from_slice(&crc_of_packet(number, covered).to_be_bytes());
            }
        }
    }

    /// Seals a body that already stands in `packet` between header and tag.
    ///
    /// # Panics
    /// When `packet` is shorter than header and tag (a bug of the caller).
    pub fn seal_in_place(&mut self, number: u64, packet: &mut [u8], header_bytes: usize) {
        let (header, rest) = packet.split_at_mut(header_bytes);
        let (body, tag) = rest.split_at_mut(rest.len() - self.tag_bytes());
        match self {
            Self::Aead(aead) => {
                aead.sealed += 1;
                aead.current.seal_in_place(number, header, body, tag);
            }
            Self::Crc => {
                let (covered, tag) = packet.split_at_mut(packet.len() - CRC_TAG_BYTES);
                tag.copy_from_slice(&crc_of_packet(number, covered).to_be_bytes());
            }
        }
    }
}

/// CRC-32C of header and body. The high half of the packet number is not on the wire; the CRC covers it as the nonce
/// does.
fn crc_of_packet(number: u64, covered: &[u8]) -> u32 {
    crc32c(covered) ^ (number >> 32) as u32
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let wide = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    // The library gives every CRC as 64 bits.
    u32::try_from(wide).unwrap_or(u32::MAX)
}

/// Opens the packets of one direction.
pub enum Opener {
    /// An AEAD.
    Aead(Box<AeadOpener>),
    /// CRC-32C in the tag's place.
    Crc,
}

/// State of an AEAD opener: three keys around the current phase.
pub struct AeadOpener {
    cipher: Cipher,
    secret: [u8; 32],
    phase: u32,
    /// First packet number seen in the current phase.
    phase_start: u64,
    previous: Option<PacketKey>,
    current: PacketKey,
    next: PacketKey,
    /// Packets whose tag was wrong.
    forged: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyChoice {
    Previous,
    Current,
    Next,
}

impl AeadOpener {
    fn choose(&self, number: u64, parity: bool) -> KeyChoice {
        if parity == (self.phase & 1 == 1) {
            KeyChoice::Current
        } else if number < self.phase_start {
            KeyChoice::Previous
        } else {
            KeyChoice::Next
        }
    }

    const fn key(&self, choice: KeyChoice) -> Option<&PacketKey> {
        match choice {
            KeyChoice::Previous => self.previous.as_ref(),
            KeyChoice::Current => Some(&self.current),
            KeyChoice::Next => Some(&self.next),
        }
    }

    fn opened(&mut self, choice: KeyChoice, number: u64) {
        match choice {
            KeyChoice::Previous => {}
            KeyChoice::Current => self.phase_start = self.phase_start.min(number),
            KeyChoice::Next => {
                self.phase += 1;
                self.phase_start = number;
                let after =
                    PacketKey::derive(self.cipher, &self.secret, self.phase.wrapping_add(1));
                let next = std::mem::replace(&mut self.next, after);
                self.previous = Some(std::mem::replace(&mut self.current, next));
            }
        }
    }
}

impl Opener {
    fn aead(cipher: Cipher, secret: [u8; 32]) -> Self {
        Self::Aead(Box::new(AeadOpener {
            cipher,
            previous: None,
            current: PacketKey::derive(cipher, &secret, 0),
            next: PacketKey::derive(cipher, &secret, 1),
            secret,
            phase: 0,
            phase_start: 0,
            forged: 0,
        }))
    }

    /// Bytes of the tag.
    #[must_use]
    pub const fn tag_bytes(&self) -> usize {
        match self {
            Self::Aead(_) => AEAD_TAG_BYTES,
            Self::Crc => CRC_TAG_BYTES,
        }
    }

    /// Packets whose tag did not match so far (AEAD).
    #[must_use]
    pub const fn forgeries(&self) -> u64 {
        match self {
            Self::Aead(aead) => aead.forged,
            Self::Crc => 0,
        }
    }

    /// Opens `packet` into `out`, whose length must be the body's. False when the tag is wrong: `out` is then garbage
    /// (zeroed by the library), so it must never hold bytes that are still needed.
    #[must_use]
    pub fn open_into(
        &mut self,
        number: u64,
        parity: bool,
        packet: &[u8],
        header_bytes: usize,
        out: &mut [u8],
    ) -> bool {
        let Some(body_bytes) = packet.len().checked_sub(header_bytes + self.tag_bytes()) else {
            return false;
        };
        if body_bytes != out.len() {
            return false;
        }
        let (header, rest) = packet.split_at(header_bytes);
        match self {
            Self::Aead(aead) => {
                let choice = aead.choose(number, parity);
                let opened = aead
                    .key(choice)
                    .is_some_and(|key| key.open_into(number, header, rest, out));
                if opened {
                    aead.opened(choice, number);
                } else {
                    aead.forged += 1;
                }
                opened
            }
            Self::Crc => {
                let (body, tag) = rest.split_at(body_bytes);
                let covered = &packet[..header_bytes + body_bytes];
                let matches = tag == crc_of_packet(number, covered).to_be_bytes();
                if matches {
                    out.copy_from_slice(body);
                }
                matches
            }
        }
    }

    /// Opens a small packet in the buffer it was received in; returns its body.
    pub fn open_in_place<'a>(
        &mut self,
        number: u64,
        parity: bool,
        packet: &'a mut [u8],
        header_bytes: usize,
    ) -> Option<&'a mut [u8]> {
        let body_bytes = packet.len().checked_sub(header_bytes + self.tag_bytes())?;
        match self {
            Self::Aead(aead) => {
                let (header, rest) = packet.split_at_mut(header_bytes);
                let choice = aead.choose(number, parity);
                let opened = aead
                    .key(choice)
                    .is_some_and(|key| key.open_in_place(number, header, rest));
                if !opened {
                    aead.forged += 1;
                    return None;
                }
                aead.opened(choice, number);
                Some(&mut rest[..body_bytes])
            }
            Self::Crc => {
                let (covered, tag) = packet.split_at_mut(header_bytes + body_bytes);
                let matches = *tag == crc_of_packet(number, covered).to_be_bytes();
                matches.then_some(&mut covered[header_bytes..])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aead(cipher: Cipher) -> Secrets {
        Secrets::Aead {
            cipher,
            down: [7; 32],
            up: [9; 32],
        }
    }

    fn all_secrets() -> [Secrets; 3] {
        [
            aead(Cipher::Aes128Gcm),
            aead(Cipher::Aegis128L),
            Secrets::Plaintext,
        ]
    }

    fn packet(sealer: &mut Sealer, number: u64, payload: &[u8]) -> Vec<u8> {
        sealer.maybe_update();
        let mut packet = vec![0; 16 + payload.len() + sealer.tag_bytes()];
        packet[0] = u8::from(sealer.key_phase());
        sealer.seal_from(number, &mut packet, 16, payload);
        packet
    }

    fn open(opener: &mut Opener, number: u64, packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; packet.len() - 16 - opener.tag_bytes()];
        opener
            .open_into(number, packet[0] == 1, packet, 16, &mut out)
            .then_some(out)
    }

    #[test]
    fn opens_what_was_sealed_and_nothing_else() {
        for secrets in all_secrets() {
            let (mut sealer, _) = secrets.for_server();
            let (_, mut opener) = secrets.for_client();
            let sealed = packet(&mut sealer, 1 << 33, b"pigeon");
            assert_eq!(
                open(&mut opener, 1 << 33, &sealed).as_deref(),
                Some(&b"pigeon"[..])
            );
            assert_eq!(open(&mut opener, 1, &sealed), None, "another packet number");
            for position in 1..sealed.len() {
                for bit in 0..8 {
                    let mut damaged = sealed.clone();
                    damaged[position] ^= 1 << bit;
                    assert_eq!(
                        open(&mut opener, 1 << 33, &damaged),
                        None,
                        "byte {position}"
                    );
                }
            }
        }
    }

    #[test]
    fn in_place_and_scatter_agree() {
        for secrets in all_secrets() {
            let (mut sealer, _) = secrets.for_client();
            let (_, mut opener) = secrets.for_server();
            let scattered = packet(&mut sealer, 3, b"same bytes");
            let mut in_place = vec![0; 16];
            in_place.extend_from_slice(b"same bytes");
            in_place.resize(16 + 10 + sealer.tag_bytes(), 0);
            sealer.seal_in_place(3, &mut in_place, 16);
            assert_eq!(in_place, scattered);
            let body = opener.open_in_place(3, false, &mut in_place, 16);
            assert_eq!(body.as_deref(), Some(&b"same bytes"[..]));
            assert!(opener.open_in_place(3, false, &mut [0; 17], 16).is_none());
        }
    }

    #[test]
    fn directions_have_different_keys() {
        for cipher in [Cipher::Aes128Gcm, Cipher::Aegis128L] {
            let (mut server, _) = aead(cipher).for_server();
            let (_, mut server_opens) = aead(cipher).for_server();
            let sealed = packet(&mut server, 1, b"x");
            assert_eq!(open(&mut server_opens, 1, &sealed), None);
        }
    }

    #[test]
    fn packets_stay_what_they_are_on_the_wire() {
        let tags = [
            (Cipher::Aes128Gcm, [167_u8, 79, 141, 90]),
            (Cipher::Aegis128L, [81, 210, 248, 253]),
        ];
        for (cipher, first) in tags {
            let (mut sealer, _) = aead(cipher).for_server();
            let sealed = packet(&mut sealer, 1 << 33, b"pigeon");
            assert_eq!(sealed[16..20], first, "{cipher:?}");
        }
    }

    #[test]
    fn key_phases_follow_and_late_packets_still_open() {
        for cipher in [Cipher::Aes128Gcm, Cipher::Aegis128L] {
            change_keys_often(cipher);
        }
    }

    fn change_keys_often(cipher: Cipher) {
        let (mut sealer, _) = aead(cipher).for_server();
        let (_, mut opener) = aead(cipher).for_client();
        sealer.set_key_lifetime(10);
        let packets: Vec<_> = (0..95)
            .map(|n| packet(&mut sealer, n, &n.to_be_bytes()))
            .collect();
        // Swapped neighbours: around each change a packet of the previous phase comes late.
        for pair in (0..94).step_by(2) {
            for number in [pair + 1, pair] {
                let opened = open(
                    &mut opener,
                    number,
                    &packets[usize::try_from(number).expect("small")],
                );
                assert_eq!(
                    opened.as_deref(),
                    Some(&number.to_be_bytes()[..]),
                    "{number}"
                );
            }
        }
        assert_eq!(
            open(&mut opener, 0, &packets[0]),
            None,
            "two phases ago is gone"
        );
        assert_eq!(opener.forgeries(), 1);
    }
}
