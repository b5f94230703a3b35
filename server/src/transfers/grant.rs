//! What a client's Open asks for, and what it is granted.

use std::collections::HashMap;
use std::net::IpAddr;

use columba_core::control::{ControlError, Grant, Open, Policy};
use columba_core::limits::{
    CELL_BYTES_V4, CELL_BYTES_V6, IDLE_TIMEOUT, MAX_DATAGRAM_BYTES, MIN_DATAGRAM_BYTES,
};
use columba_core::protection::{Cipher, Secrets};
use columba_core::server::{self, AssociationConfig};
use columba_core::units::Timestamp;

use super::{Known, Transfers};
use crate::lobby::Refusal;
use crate::slots::SlotId;

/// What a client's features come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// What seals its packets.
    pub(crate) cipher: Cipher,
    /// It wants to be told how the sending goes.
    pub(crate) reports: bool,
}

impl Transfers {
    /// Grants an association to a client.
    ///
    /// # Errors
    /// Too many transfers run, or the client wants datagrams that hold nothing.
    pub(crate) fn open(
        &mut self,
        now: Timestamp,
        client: SlotId,
        peer: IpAddr,
        open: &Open,
        terms: &Terms,
    ) -> Result<Grant, Refusal> {
        if self.endpoint.len() >= self.options.max_transfers {
            let text = "as many transfers run as this server admits: try again later";
            return Err(Refusal::new(ControlError::TooManyTransfers, text));
        }
        let config = self.association_config(peer, open, terms.cipher)?;
        let (id, cell_bytes) = (config.id, config.cell_bytes);
        let (secret_down, secret_up) = match &config.secrets {
            Secrets::Aead { down, up, .. } => (*down, *up),
            Secrets::Plaintext => ([0; 32], [0; 32]),
        };
        if !self.endpoint.open(now, config) {
            let text = "the association could not be made: try again";
            return Err(Refusal::new(ControlError::Internal, text));
        }
        self.known.insert(
            id,
            Known {
                client,
                streams: HashMap::default(),
                sending: 0,
                reports: terms.reports,
            },
        );
        self.counts.opened += 1;
        Ok(Grant {
            association: id,
            // The same number as control: a relay in between moves both together.
            udp_port: 0,
            cell_bytes,
            secret_down,
            secret_up,
            idle_ms: u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        })
    }

    fn association_config(
        &self,
        peer: IpAddr,
        open: &Open,
        cipher: Cipher,
    ) -> Result<AssociationConfig, Refusal> {
        let internal = |_| Refusal::new(ControlError::Internal, "the server has no randomness");
        let id = loop {
            let id = u32::from_be_bytes(random().map_err(internal)?);
            if id != 0 && !self.endpoint.contains(id) {
                break id;
            }
        };
        let secrets = if self.options.plaintext {
            Secrets::Plaintext
        } else {
            Secrets::Aead {
                cipher,
                down: random().map_err(internal)?,
                up: random().map_err(internal)?,
            }
        };
        Ok(AssociationConfig {
            id,
            secrets,
            cell_bytes: if peer.is_ipv4() {
                CELL_BYTES_V4
            } else {
                CELL_BYTES_V6
            },
            max_datagram: max_datagram(open)?,
            algorithm: self.options.congestion,
            initial_rtt: None,
            rate_limit: (open.rate_limit > 0).then_some(open.rate_limit),
            policy: match open.policy {
                Policy::Fair => server::Policy::Fair,
                Policy::Low => server::Policy::Low,
            },
            seed: random().map_err(internal)?,
        })
    }
}

/// The largest UDP payload a client wants, in bytes.
fn max_datagram(open: &Open) -> Result<usize, Refusal> {
    match usize::from(open.max_datagram) {
        0 => Ok(MAX_DATAGRAM_BYTES),
        bytes if bytes < MIN_DATAGRAM_BYTES => {
            let text = format!(
                "datagrams of {bytes} bytes are too small: at least {MIN_DATAGRAM_BYTES} are needed"
            );
            Err(Refusal::new(ControlError::Address, text))
        }
        bytes => Ok(bytes.min(MAX_DATAGRAM_BYTES)),
    }
}

fn random<const N: usize>() -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}
