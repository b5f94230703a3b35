//! s2n-quic: QUIC with one stream per file.

use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow};
use s2n_quic::client::Connect;
use s2n_quic::provider::{congestion_controller, io, limits::Limits};
use s2n_quic::{Client, Connection, Server};

use super::certificate::{self, Credentials};
use super::quic_request::{PIECE_BYTES, QuicCongestion, RUNTIME, WINDOW_BYTES, runtime, socket};
use super::{Announce, Arrived, Fetched, Ready, Source, Spec, Transport};
use crate::machine::version_of;

/// IPv4's and UDP's headers, which s2n-quic counts as part of the MTU.
const IP_UDP_BYTES: u16 = 28;

/// See the module.
#[derive(Debug)]
pub(super) struct S2n(pub(super) QuicCongestion);

fn limits() -> Result<Limits> {
    let window = u64::from(WINDOW_BYTES);
    Limits::new()
        .with_data_window(window)
        .and_then(|limits| limits.with_bidirectional_local_data_window(window))
        .and_then(|limits| limits.with_bidirectional_remote_data_window(window))
        .and_then(|limits| limits.with_max_send_buffer_size(WINDOW_BYTES))
        .map_err(|error| anyhow!("s2n-quic refuses its limits: {error}"))
}

fn endpoint(spec: &Spec) -> Result<io::Default> {
    let mtu = spec.payload_limit + IP_UDP_BYTES;
    let builder = io::Default::builder()
        .with_rx_socket(socket(spec)?)?
        .with_max_mtu(mtu)?
        .with_initial_mtu(mtu)?;
    Ok(builder.build()?)
}

impl Transport for S2n {
    fn settings(&self, spec: &Spec) -> String {
        format!(
            "s2n-quic {} with its default TLS (s2n-tls), GSO and GRO, initial and largest MTU {}, {}, windows of 16 MiB, \
             socket buffers of 8 MiB, {RUNTIME}",
            version_of("s2n-quic"),
            spec.payload_limit + IP_UDP_BYTES,
            self.0.name()
        )
    }

    fn serve(&self, spec: &Spec, source: Source, announce: Announce<'_>) -> Result<()> {
        let credentials = Credentials::make()?;
        let (certificate, key) = (&credentials.certificate_pem, &credentials.key_pem);
        runtime()?.block_on(async {
            let server = Server::builder()
                .with_tls((certificate.as_str(), key.as_str()))?
                .with_io(endpoint(spec)?)?
                .with_limits(limits()?)?;
            let started = match self.0 {
                QuicCongestion::Cubic => server.start(),
                QuicCongestion::Bbr => server
                    .with_congestion_controller(congestion_controller::Bbr::default())?
                    .start(),
            };
            let mut server =
                started.map_err(|error| anyhow!("s2n-quic does not start: {error}"))?;
            announce(Ready {
                address: server.local_addr()?,
                certificate: certificate.clone(),
            })?;
            while let Some(connection) = server.accept().await {
                let source = source.clone();
                tokio::spawn(async move {
                    // A client that is done closes the connection.
                    let _ = serve_streams(connection, source).await;
                });
            }
            Ok(())
        })
    }

    fn fetch(&self, spec: &Spec, server: &Ready, arrived: &Arrived) -> Result<Fetched> {
        runtime()?.block_on(async {
            let client = Client::builder()
                .with_tls(server.certificate.as_str())?
                .with_io(endpoint(spec)?)?
                .with_limits(limits()?)?
                .start()
                .map_err(|error| anyhow!("s2n-quic does not start: {error}"))?;
            let connect = Connect::new(server.address).with_server_name(certificate::NAME);
            let mut connection = client.connect(connect).await?;
            let mut bytes = 0;
            for _ in 0..spec.files {
                let stream = connection.open_bidirectional_stream().await?;
                let (mut receive, mut send) = stream.split();
                send.send(spec.bytes.to_be_bytes().to_vec().into()).await?;
                send.finish()?;
                while let Some(chunk) = receive.receive().await? {
                    let count = chunk.len() as u64;
                    bytes += count;
                    arrived.fetch_add(count, Ordering::Relaxed);
                }
            }
            connection.close(0_u8.into());
            Ok(Fetched::bytes(bytes))
        })
    }
}

async fn serve_streams(mut connection: Connection, source: Source) -> Result<()> {
    while let Some(stream) = connection.accept_bidirectional_stream().await? {
        let (mut receive, mut send) = stream.split();
        let mut request = Vec::new();
        while let Some(chunk) = receive.receive().await? {
            request.extend_from_slice(&chunk);
        }
        let request = <[u8; 8]>::try_from(request.as_slice())?;
        for piece in source.pieces(u64::from_be_bytes(request), PIECE_BYTES) {
            send.send(piece).await?;
        }
        send.finish()?;
    }
    Ok(())
}
