//! One datagram of a limit row: a header of 16 bytes with its index, the payload, a tag.

use aegis::aegis128l::Aegis128L;
use anyhow::{Context, Result};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use columba_core::protection::Cipher;
use crc_fast::{CrcAlgorithm, Digest};

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
    Aegis128L,
    Aes128Gcm(Box<LessSafeKey>),
}

/// Both ends have the same; nothing is secret here but the time it takes.
const KEY: [u8; 16] = [7; 16];

impl Framing {
    pub(super) fn new(work: Work) -> Result<Self> {
        Ok(match work {
            Work::Nothing => Self::Nothing,
            Work::Crc => Self::Crc,
            Work::Aead if Cipher::aegis_is_quick() => Self::Aegis128L,
            Work::Aead => {
                let key = UnboundKey::new(&AES_128_GCM, &KEY)
                    .ok()
                    .context("no AES-128-GCM")?;
                Self::Aes128Gcm(Box::new(LessSafeKey::new(key)))
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
                tag.copy_from_slice(&crc_of(&[covered]));
            }
            Self::Aegis128L => {
                let (body, tag) = room.split_at_mut(payload.len());
                body.copy_from_slice(payload);
                tag.copy_from_slice(&aegis(index).encrypt_in_place(body, header));
            }
            Self::Aes128Gcm(key) => key
                .seal_in_place_scatter(nonce(index), Aad::from(&*header), &mut [], payload, room)
                .ok()
                .context("cannot seal")?,
        }
        Ok(())
    }

    /// What stands before the payload and behind it, where the payload need not be touched; `None` where it must.
    pub(super) fn around(&self, index: u64, payload: &[u8]) -> Option<Around> {
        let mut header = [0; HEADER_BYTES];
        header[8..].copy_from_slice(&index.to_be_bytes());
        match self {
            Self::Nothing | Self::Aegis128L | Self::Aes128Gcm(_) => None,
            Self::Crc => Some(Around {
                tag: crc_of(&[&header, payload]),
                header,
            }),
        }
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
                let (covered, _) = datagram.split_at(HEADER_BYTES + body.len());
                crc_of(&[covered]) == tag
            }
            Self::Aegis128L => {
                place.copy_from_slice(body);
                tag.first_chunk()
                    .is_some_and(|tag| aegis(index).decrypt_in_place(place, tag, header).is_ok())
            }
            Self::Aes128Gcm(key) => key
                .open_separate_gather(nonce(index), Aad::from(header), body, tag, place)
                .is_ok(),
        }
    }
}

/// The bytes around a payload that goes out from where it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    pub(super) header: [u8; HEADER_BYTES],
    pub(super) tag: [u8; CRC_TAG_BYTES],
}

fn crc_of(parts: &[&[u8]]) -> [u8; CRC_TAG_BYTES] {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    // The library gives every CRC as 64 bits.
    let [.., a, b, c, d] = digest.finalize().to_be_bytes();
    [a, b, c, d]
}

fn aegis(index: u64) -> Aegis128L<AEAD_TAG_BYTES> {
    let mut nonce = [0; 16];
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    Aegis128L::new(&KEY, &nonce)
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
