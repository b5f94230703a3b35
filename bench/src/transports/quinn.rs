//! quinn: QUIC with one stream per file.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::{ClientConfig, ServerConfig};
use quinn::{
    Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, TokioRuntime, TransportConfig, VarInt,
};

use super::certificate::{self, Credentials};
use super::quic_request::{PIECE_BYTES, QuicCongestion, RUNTIME, WINDOW_BYTES, runtime, socket};
use super::tls_tcp::provider;
use super::{Announce, Arrived, Fetched, Ready, Source, Spec, Transport};
use crate::machine::version_of;

const ALPN: &[u8] = b"bench";

/// See the module.
#[derive(Debug)]
pub(super) struct Quinn(pub(super) QuicCongestion);

/// quinn hands ten packets to the kernel at once. Beyond this size they are more than a UDP datagram may be, the kernel
/// refuses them, and quinn counts them as lost (a third of its speed remains).
const LARGEST_USEFUL_BYTES: u16 = 6550;

fn mtu(spec: &Spec) -> u16 {
    spec.payload_limit.min(LARGEST_USEFUL_BYTES)
}

fn transport_config(spec: &Spec, congestion: QuicCongestion) -> Arc<TransportConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(mtu(spec));
    let mut config = TransportConfig::default();
    config
        .initial_mtu(mtu(spec))
        .mtu_discovery_config(Some(discovery))
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .send_window(WINDOW_BYTES.into());
    match congestion {
        QuicCongestion::Cubic => {
            config.congestion_controller_factory(Arc::new(CubicConfig::default()))
        }
        QuicCongestion::Bbr => config.congestion_controller_factory(Arc::new(BbrConfig::default())),
    };
    Arc::new(config)
}

fn endpoint_config(spec: &Spec) -> Result<EndpointConfig> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(mtu(spec))?;
    Ok(config)
}

impl Transport for Quinn {
    fn settings(&self, spec: &Spec) -> String {
        format!(
            "quinn {} (quinn-proto {}), AES-128-GCM by rustls and aws-lc-rs, GSO and GRO, MTU fixed at {} bytes of UDP payload, \
             {}, windows of 16 MiB, socket buffers of 8 MiB, {RUNTIME}",
            version_of("quinn"),
            version_of("quinn-proto"),
            mtu(spec),
            self.0.name()
        )
    }

    fn serve(&self, spec: &Spec, source: Source, announce: Announce<'_>) -> Result<()> {
        let credentials = Credentials::make()?;
        let mut tls = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![credentials.certificate], credentials.key)?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let tls = Arc::new(QuicServerConfig::try_from(tls)?);
        let mut config = quinn::ServerConfig::with_crypto(tls);
        config.transport_config(transport_config(spec, self.0));
        runtime()?.block_on(async {
            let endpoint = Endpoint::new(
                endpoint_config(spec)?,
                Some(config),
                socket(spec)?,
                Arc::new(TokioRuntime),
            )?;
            announce(Ready {
                address: endpoint.local_addr()?,
                certificate: credentials.certificate_pem,
            })?;
            while let Some(incoming) = endpoint.accept().await {
                let source = source.clone();
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        // A client that is done closes the connection.
                        let _ = serve_streams(connection, source).await;
                    }
                });
            }
            Ok(())
        })
    }

    fn fetch(&self, spec: &Spec, server: &Ready, arrived: &Arrived) -> Result<Fetched> {
        let mut tls = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(certificate::trust(&server.certificate)?)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(transport_config(spec, self.0));
        runtime()?.block_on(async {
            let endpoint = Endpoint::new(
                endpoint_config(spec)?,
                None,
                socket(spec)?,
                Arc::new(TokioRuntime),
            )?;
            let connection = endpoint
                .connect_with(config, server.address, certificate::NAME)?
                .await?;
            let mut bytes = 0;
            for _ in 0..spec.files {
                let (mut send, mut receive) = connection.open_bi().await?;
                send.write_all(&spec.bytes.to_be_bytes()).await?;
                send.finish()?;
                while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
                    let count = chunk.bytes.len() as u64;
                    bytes += count;
                    arrived.fetch_add(count, Ordering::Relaxed);
                }
            }
            connection.close(VarInt::from_u32(0), b"done");
            endpoint.wait_idle().await;
            Ok(Fetched::bytes(bytes))
        })
    }
}

async fn serve_streams(connection: Connection, source: Source) -> Result<()> {
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        let mut request = [0; 8];
        receive
            .read_exact(&mut request)
            .await
            .context("no request")?;
        for piece in source.pieces(u64::from_be_bytes(request), PIECE_BYTES) {
            send.write_chunk(piece).await?;
        }
        send.finish()?;
    }
}
