//! One datagram of a limit row: a header of 16 bytes with its index, the payload, a tag.

use anyhow::{Context, Result};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Work;

const HEADER_BYTES: usize = 16;
const AEAD_TAG_BYTES: usize = 16;
const CRC_TAG_BYTES: usize = 4;

/// Bytes of a datagram that are no payload.
pub(super) const fn overhead(work: Work) -> usize {
    match work {
        Work::Nothing => 0,
        Work::Crc => HEADER_BYTES + CRC_TAG_BYTES,
        Work::Aead => HEADER_BYTES + AEAD_TAG_BYTES,
    }
}

/// Seals and opens.
pub(super) enum Framing {
    Nothing,
    Crc,
    Aead(Box<LessSafeKey>),
}

impl Framing {
    pub(super) fn new(work: Work) -> Result<Self> {
        Ok(match work {
            Work::Nothing => Self::Nothing,
            Work::Crc => Self::Crc,
            Work::Aead => {
                // Both ends have the same; nothing is secret here but the time it takes.
                let key = UnboundKey::new(&AES_128_GCM, &[7; 16])
                    .ok()
                    .context("no AES-128-GCM")?;
                Self::Aead(Box::new(LessSafeKey::new(key)))
            }
        })
    }

    /// Fills `datagram` with the payload of this index.
    pub(super) fn seal(&self, index: u64, payload: &[u8], datagram: &mut [u8]) -> Result<()> {
        if matches!(self, Self::Nothing) {
            datagram.copy_from_slice(payload);
            return Ok(());
        }
        let (header, room) = datagram.split_at_mut(HEADER_BYTES);
        header.fill(0);
        header[8..].copy_from_slice(&index.to_be_bytes());
        match self {
            Self::Nothing => {}
            Self::Crc => {
                room[..payload.len()].copy_from_slice(payload);
                let (covered, tag) = datagram.split_at_mut(HEADER_BYTES + payload.len());
                tag.copy_from_slice(&crc32c(covered).to_be_bytes());
            }
            Self::Aead(key) => key
                .seal_in_place_scatter(nonce(index), Aad::from(&*header), &mut [], payload, room)
                .ok()
                .context("cannot seal")?,
        }
        Ok(())
    }

    /// The index of a datagram and its payload's length; `None`: it is none of ours.
    pub(super) fn look(&self, work: Work, datagram: &[u8]) -> Option<(u64, usize)> {
        let payload = datagram.len().checked_sub(overhead(work))?;
        let header = datagram.first_chunk::<HEADER_BYTES>()?;
        let (_, index) = header.split_last_chunk::<8>()?;
        Some((u64::from_be_bytes(*index), payload))
    }

    /// Opens a datagram into `place`, which has the payload's length; false: it is damaged.
    pub(super) fn open(&self, index: u64, datagram: &[u8], place: &mut [u8]) -> bool {
        let Some((header, rest)) = datagram.split_at_checked(HEADER_BYTES) else {
            return false;
        };
        let Some((body, tag)) = rest.split_at_checked(place.len()) else {
            return false;
        };
        match self {
            Self::Nothing => true,
            Self::Crc => {
                place.copy_from_slice(body);
                crc32c(&datagram[..HEADER_BYTES + body.len()]).to_be_bytes() == tag
            }
            Self::Aead(key) => key
                .open_separate_gather(nonce(index), Aad::from(header), body, tag, place)
                .is_ok(),
        }
    }
}

/// CRC-32C, by the library that the product uses.
fn crc32c(bytes: &[u8]) -> u32 {
    let wide = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(wide).unwrap_or(u32::MAX)
}

fn nonce(index: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_unless_it_was_damaged() {
        for work in [Work::Crc, Work::Aead] {
            let framing = Framing::new(work).unwrap();
            let payload = [3; 100];
            let mut datagram = vec![9; 100 + overhead(work)];
            framing.seal(77, &payload, &mut datagram).unwrap();
            assert_eq!(framing.look(work, &datagram), Some((77, 100)));
            let mut place = [0; 100];
            assert!(framing.open(77, &datagram, &mut place));
            assert_eq!(place, payload);
            datagram[50] ^= 1;
            assert!(!framing.open(77, &datagram, &mut place));
        }
    }
}
