//! What Columba is measured beside: the limits of this machine, kernel TCP, and the transports people would use instead.
//!
//! Each is a [`Transport`] in a file of its own: how it serves a source and how it fetches it. Server and client are
//! processes of their own, as ours are (`role`); both take a [`Spec`] as their only argument. The source is one file in
//! memory, mapped by all servers alike. Received bytes are dropped; only the limit rows hash them, as Columba does.

mod certificate;
#[cfg(feature = "peers")]
mod kcp;
mod limit;
#[cfg(feature = "peers")]
mod quic_request;
#[cfg(feature = "peers")]
mod quinn;
pub(crate) mod role;
#[cfg(feature = "peers")]
mod s2n;
mod source;
mod tcp;
mod tls_tcp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use anyhow::Result;
use serde::{Deserialize, Serialize};

#[cfg(feature = "peers")]
use quic_request::QuicCongestion;
pub(crate) use source::Source;

/// One way to bring bytes from one process to another.
pub(crate) trait Transport: Sync {
    /// What people should know about it: version and settings, in a line.
    fn settings(&self, spec: &Spec) -> String;

    /// Listens, calls `announce`, and serves until the process is killed.
    fn serve(&self, spec: &Spec, source: Source, announce: Announce<'_>) -> Result<()>;

    /// Fetches `spec.files` times `spec.bytes` bytes, one after the other. The QUIC rows say what has
    /// arrived, and listen where they are told to.
    fn fetch(&self, spec: &Spec, server: &Ready, arrived: &Arrived) -> Result<Fetched>;
}

/// Bytes that have come so far, for somebody who watches.
pub(crate) type Arrived = AtomicU64;

/// Says that a server is ready.
pub(crate) type Announce<'a> = &'a dyn Fn(Ready) -> Result<()>;

/// What a client has to know of its server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
    /// The server's certificate in PEM, where there is one.
    #[serde(default)]
    pub(crate) certificate: String,
}

/// Says how serving a client failed; the next one may do better.
fn tell(served: Result<()>) {
    if let Err(error) = served {
        crate::report::complain(&format!("a client was not served: {error:#}"));
    }
}

/// What came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fetched {
    pub(crate) bytes: u64,
    /// Seconds, where the transport knows better than its caller: a limit that lost packets waits for its end.
    pub(crate) seconds: Option<f64>,
}

impl Fetched {
    /// So many bytes, timed from outside.
    pub(crate) const fn bytes(bytes: u64) -> Self {
        Self {
            bytes,
            seconds: None,
        }
    }
}

/// What is to be measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    /// Largest UDP payload in bytes; 0 for TCP.
    pub(crate) payload_limit: u16,
    /// The file with the bytes.
    pub(crate) source: PathBuf,
    /// Bytes of one fetch.
    pub(crate) bytes: u64,
    /// Fetches, one after the other.
    pub(crate) files: u32,
    /// Where to fetch from; `None`: this is the server.
    pub(crate) server: Option<Ready>,
    /// Where the server listens.
    pub(crate) listen: IpAddr,
    /// Tell again and again how much has arrived.
    pub(crate) watched: bool,
}

impl Spec {
    /// A server on loopback; its clients add where to fetch from.
    pub(crate) fn new(kind: Kind, payload_limit: u16, source: PathBuf, bytes: u64) -> Self {
        Self {
            kind,
            payload_limit,
            source,
            bytes,
            files: 1,
            server: None,
            listen: Ipv4Addr::LOCALHOST.into(),
            watched: false,
        }
    }
}

/// All rows that are not Columba itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    LimitUdp,
    LimitUdpAead,
    LimitUdpCrc,
    Tcp,
    TlsTcp,
    TcpBbr,
    TcpCubic,
    Quinn,
    #[serde(rename = "s2n-quic")]
    S2nQuic,
    TokioKcp,
    QuinnBbr,
    #[serde(rename = "s2n-quic-bbr")]
    S2nQuicBbr,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::LimitUdp,
        Self::LimitUdpAead,
        Self::LimitUdpCrc,
        Self::Tcp,
        Self::TlsTcp,
        Self::TcpBbr,
        Self::TcpCubic,
        Self::Quinn,
        Self::S2nQuic,
        Self::TokioKcp,
        Self::QuinnBbr,
        Self::S2nQuicBbr,
    ];

    /// The row's name.
    pub(crate) const fn row(self) -> &'static str {
        match self {
            Self::LimitUdp => "limit-udp",
            Self::LimitUdpAead => "limit-udp-aead",
            Self::LimitUdpCrc => "limit-udp-crc",
            Self::Tcp => "tcp",
            Self::TlsTcp => "tls-tcp",
            Self::TcpBbr => "tcp-bbr",
            Self::TcpCubic => "tcp-cubic",
            Self::Quinn => "quinn",
            Self::S2nQuic => "s2n-quic",
            Self::TokioKcp => "tokio-kcp",
            Self::QuinnBbr => "quinn-bbr",
            Self::S2nQuicBbr => "s2n-quic-bbr",
        }
    }

    /// Whether its bytes are encrypted.
    pub(crate) const fn is_encrypted(self) -> bool {
        matches!(
            self,
            Self::LimitUdpAead
                | Self::TlsTcp
                | Self::Quinn
                | Self::S2nQuic
                | Self::QuinnBbr
                | Self::S2nQuicBbr
        )
    }

    /// Whether it has datagrams whose size can be told.
    pub(crate) const fn has_datagrams(self) -> bool {
        matches!(
            self,
            Self::LimitUdp
                | Self::LimitUdpAead
                | Self::LimitUdpCrc
                | Self::Quinn
                | Self::S2nQuic
                | Self::TokioKcp
                | Self::QuinnBbr
                | Self::S2nQuicBbr
        )
    }

    /// Its implementation; `None` in a build without the feature `peers`.
    pub(crate) fn transport(self) -> Option<&'static dyn Transport> {
        Some(match self {
            Self::LimitUdp => &limit::Limit(limit::Work::Nothing),
            Self::LimitUdpAead => &limit::Limit(limit::Work::Aead),
            Self::LimitUdpCrc => &limit::Limit(limit::Work::Crc),
            Self::Tcp => &tcp::Tcp(None),
            Self::TcpBbr => &tcp::Tcp(Some("bbr")),
            Self::TcpCubic => &tcp::Tcp(Some("cubic")),
            Self::TlsTcp => &tls_tcp::TlsTcp,
            #[cfg(feature = "peers")]
            Self::Quinn => &quinn::Quinn(QuicCongestion::Cubic),
            #[cfg(feature = "peers")]
            Self::S2nQuic => &s2n::S2n(QuicCongestion::Cubic),
            #[cfg(feature = "peers")]
            Self::QuinnBbr => &quinn::Quinn(QuicCongestion::Bbr),
            #[cfg(feature = "peers")]
            Self::S2nQuicBbr => &s2n::S2n(QuicCongestion::Bbr),
            #[cfg(feature = "peers")]
            Self::TokioKcp => &kcp::Kcp,
            #[cfg(not(feature = "peers"))]
            Self::Quinn | Self::S2nQuic | Self::TokioKcp | Self::QuinnBbr | Self::S2nQuicBbr => {
                return None;
            }
        })
    }

    /// Why it cannot run here, if it cannot.
    pub(crate) fn obstacle(self) -> Option<String> {
        if self.transport().is_none() {
            return Some(format!(
                "this build has no {}: build with `--features columba-bench/peers`",
                self.row()
            ));
        }
        let congestion = match self {
            Self::TcpBbr => "bbr",
            Self::TcpCubic => "cubic",
            Self::LimitUdp
            | Self::LimitUdpAead
            | Self::LimitUdpCrc
            | Self::Tcp
            | Self::TlsTcp
            | Self::Quinn
            | Self::S2nQuic
            | Self::TokioKcp
            | Self::QuinnBbr
            | Self::S2nQuicBbr => return None,
        };
        tcp::check_congestion(congestion).err().map(|error| {
            format!("this kernel's TCP has no {congestion} for this user ({error}): `modprobe tcp_{congestion}`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_json_are_the_rows_names() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.row());
        }
    }
}
