//! tokio_kcp: KCP, a reliable protocol over UDP that many games and tunnels use. It does not encrypt.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_kcp::{KcpConfig, KcpListener, KcpNoDelayConfig, KcpStream};

use super::quic_request::runtime;
use super::{Announce, Arrived, Fetched, Ready, Source, Spec, Transport};
use crate::machine::version_of;

/// Window in packets, each way.
const WINDOW_PACKETS: u16 = 4096;
const PIECE_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Kcp;

fn config(spec: &Spec) -> KcpConfig {
    KcpConfig {
        mtu: spec.payload_limit.into(),
        nodelay: KcpNoDelayConfig::fastest(),
        wnd_size: (WINDOW_PACKETS, WINDOW_PACKETS),
        session_expire: Duration::from_secs(15),
        flush_write: true,
        flush_acks_input: true,
        stream: true,
        allow_recv_empty_packet: false,
    }
}

impl Transport for Kcp {
    fn settings(&self, spec: &Spec) -> String {
        format!(
            "tokio_kcp {}, no encryption, MTU {}, the crate's `fastest` preset (no delay, 10 ms ticks, fast resend after 2, \
             no congestion control), windows of {WINDOW_PACKETS} packets, stream mode, flush at once",
            version_of("tokio_kcp"),
            spec.payload_limit
        )
    }

    fn serve(&self, spec: &Spec, source: Source, announce: Announce<'_>) -> Result<()> {
        runtime()?.block_on(async {
            let mut listener = KcpListener::bind(config(spec), (Ipv4Addr::LOCALHOST, 0)).await?;
            announce(Ready {
                address: listener.local_addr()?,
                certificate: String::new(),
            })?;
            loop {
                let (stream, _) = listener.accept().await?;
                let source = source.clone();
                tokio::spawn(async move {
                    // A client that is done is gone.
                    let _ = serve_stream(stream, &source).await;
                });
            }
        })
    }

    fn fetch(&self, spec: &Spec, server: &Ready, _arrived: &Arrived) -> Result<Fetched> {
        runtime()?.block_on(async {
            let mut stream = KcpStream::connect(&config(spec), server.address).await?;
            let mut buffer = vec![0; PIECE_BYTES];
            let mut bytes = 0;
            for _ in 0..spec.files {
                stream.write_all(&spec.bytes.to_be_bytes()).await?;
                stream.flush().await?;
                let mut left = spec.bytes;
                while left > 0 {
                    let count = stream.read(&mut buffer).await?;
                    anyhow::ensure!(count > 0, "the server ended with {left} bytes to go");
                    left = left.saturating_sub(count as u64);
                }
                bytes += spec.bytes;
            }
            Ok(Fetched::bytes(bytes))
        })
    }
}

async fn serve_stream(mut stream: KcpStream, source: &Source) -> Result<()> {
    loop {
        let mut request = [0; 8];
        stream.read_exact(&mut request).await?;
        for piece in source.pieces(u64::from_be_bytes(request), PIECE_BYTES) {
            stream.write_all(&piece).await?;
        }
        stream.flush().await?;
    }
}
