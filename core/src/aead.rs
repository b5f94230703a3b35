//! One key of an AEAD for packets: AEGIS-128L where both ends have AES instructions, AES-128-GCM otherwise.
//!
//! AEGIS-128L (draft-irtf-cfrg-aegis-aead) takes about three fifths of the time: one pass of AES rounds encrypts and
//! authenticates, and a packet needs no tables of its key. Both have keys of 16 bytes, tags of 16, and the security of 128 bits.

use aegis::aegis128l::Aegis128L;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};

use crate::limits::AEAD_TAG_BYTES;

const KEY_BYTES: usize = 16;
const GCM_IV_BYTES: usize = 12;
const AEGIS_IV_BYTES: usize = 16;

/// Which AEAD seals the packets of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM (NIST SP 800-38D): everybody has it.
    Aes128Gcm,
    /// AEGIS-128L (draft-irtf-cfrg-aegis-aead): quicker than AES-128-GCM where the processor has AES instructions, slow elsewhere.
    Aegis128L,
}

impl Cipher {
    /// Whether AEGIS-128L is the quicker one here: the processor has AES instructions.
    #[must_use]
    pub fn aegis_is_quick() -> bool {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        return std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        return std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        return false;
    }

    /// What its keys derive with; a secret is used with one of them only.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Aes128Gcm => b"columba packet key",
            Self::Aegis128L => b"columba aegis-128l packet key",
        }
    }

    const fn iv_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => GCM_IV_BYTES,
            Self::Aegis128L => AEGIS_IV_BYTES,
        }
    }
}

struct OkmBytes(usize);

impl KeyType for OkmBytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// Key and IV of one direction in one phase.
pub(crate) enum PacketKey {
    Aes128Gcm {
        key: Box<LessSafeKey>,
        iv: [u8; GCM_IV_BYTES],
    },
    Aegis128L {
        key: [u8; KEY_BYTES],
        iv: [u8; AEGIS_IV_BYTES],
    },
}

impl PacketKey {
    pub(crate) fn derive(cipher: Cipher, secret: &[u8; 32], phase: u32) -> Self {
        let prk = Prk::new_less_safe(HKDF_SHA256, secret);
        let phase = phase.to_be_bytes();
        let mut material = [0_u8; KEY_BYTES + AEGIS_IV_BYTES];
        let material = &mut material[..KEY_BYTES + cipher.iv_bytes()];
        prk.expand(&[cipher.label(), &phase], OkmBytes(material.len()))
            .and_then(|okm| okm.fill(material))
            .expect("32 bytes are within HKDF's bound");
        let (key, iv) = material.split_at(KEY_BYTES);
        match cipher {
            Cipher::Aes128Gcm => {
                let key = UnboundKey::new(&AES_128_GCM, key).expect("16 bytes are an AES-128 key");
                Self::Aes128Gcm {
                    key: Box::new(LessSafeKey::new(key)),
                    iv: array(iv),
                }
            }
            Cipher::Aegis128L => Self::Aegis128L {
                key: array(key),
                iv: array(iv),
            },
        }
    }

    /// Seals `payload` into `room`, which takes it and the tag behind it.
    pub(crate) fn seal_from(&self, number: u64, header: &[u8], payload: &[u8], room: &mut [u8]) {
        match self {
            Self::Aes128Gcm { key, iv } => key
                .seal_in_place_scatter(
                    gcm_nonce(iv, number),
                    Aad::from(header),
                    &mut [],
                    payload,
                    room,
                )
                .expect("payload and room agree in length"),
            Self::Aegis128L { key, iv } => {
                let (body, tag) = room.split_at_mut(payload.len());
                body.copy_from_slice(payload);
                let sealed = aegis(key, iv, number).encrypt_in_place(body, header);
                tag.copy_from_slice(&sealed);
            }
        }
    }

    /// Seals `body` where it stands.
    pub(crate) fn seal_in_place(
        &self,
        number: u64,
        header: &[u8],
        body: &mut [u8],
        tag: &mut [u8],
    ) {
        match self {
            Self::Aes128Gcm { key, iv } => key
                .seal_in_place_scatter(gcm_nonce(iv, number), Aad::from(header), body, &[], tag)
                .expect("the tag's room has its length"),
            Self::Aegis128L { key, iv } => {
                let sealed = aegis(key, iv, number).encrypt_in_place(body, header);
                tag.copy_from_slice(&sealed);
            }
        }
    }

    /// Opens `sealed`, a body and its tag, into `out`, which has the body's length. False when the tag is wrong: `out` is then
    /// garbage (erased by the libraries).
    pub(crate) fn open_into(
        &self,
        number: u64,
        header: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> bool {
        let Some((body, tag)) = sealed.split_last_chunk::<AEAD_TAG_BYTES>() else {
            return false;
        };
        match self {
            Self::Aes128Gcm { key, iv } => key
                .open_separate_gather(gcm_nonce(iv, number), Aad::from(header), body, tag, out)
                .is_ok(),
            Self::Aegis128L { key, iv } => {
                out.copy_from_slice(body);
                aegis(key, iv, number)
                    .decrypt_in_place(out, tag, header)
                    .is_ok()
            }
        }
    }

    /// Opens `sealed`, a body and its tag, where it stands. False when the tag is wrong.
    pub(crate) fn open_in_place(&self, number: u64, header: &[u8], sealed: &mut [u8]) -> bool {
        match self {
            Self::Aes128Gcm { key, iv } => key
                .open_in_place(gcm_nonce(iv, number), Aad::from(header), sealed)
                .is_ok(),
            Self::Aegis128L { key, iv } => sealed
                .split_last_chunk_mut::<AEAD_TAG_BYTES>()
                .is_some_and(|(body, tag)| {
                    aegis(key, iv, number)
                        .decrypt_in_place(body, tag, header)
                        .is_ok()
                }),
        }
    }
}

fn aegis(
    key: &[u8; KEY_BYTES],
    iv: &[u8; AEGIS_IV_BYTES],
    number: u64,
) -> Aegis128L<AEAD_TAG_BYTES> {
    Aegis128L::new(key, &with_number(*iv, number))
}

fn gcm_nonce(iv: &[u8; GCM_IV_BYTES], number: u64) -> Nonce {
    Nonce::assume_unique_for_key(with_number(*iv, number))
}

/// The IV XOR the packet number, as in TLS 1.3 (RFC 8446, 5.3).
fn with_number<const N: usize>(mut iv: [u8; N], number: u64) -> [u8; N] {
    for (byte, number) in iv.iter_mut().rev().zip(number.to_le_bytes()) {
        *byte ^= number;
    }
    iv
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
