//! TLS 1.3 over kernel TCP (rustls, aws-lc-rs): what a person gets without any of this.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, Stream};

use super::certificate::{self, Credentials};
use super::tcp::{PIECE_BYTES, read_exactly, read_request};
use super::{Announce, Arrived, Fetched, Ready, Source, Spec, Transport, tell};
use crate::machine::version_of;

/// See the module.
#[derive(Debug)]
pub(super) struct TlsTcp;

/// AES-128-GCM only, as our packets have it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    })
}

impl Transport for TlsTcp {
    fn settings(&self, _spec: &Spec) -> String {
        format!(
            "rustls {} with aws-lc-rs, TLS 1.3, AES-128-GCM, over kernel TCP, writes and reads of 256 KiB",
            version_of("rustls")
        )
    }

    fn serve(&self, _spec: &Spec, source: Source, announce: Announce<'_>) -> Result<()> {
        let credentials = Credentials::make()?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![credentials.certificate], credentials.key)?;
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        announce(Ready {
            address: listener.local_addr()?,
            certificate: credentials.certificate_pem,
        })?;
        loop {
            let (socket, _) = listener.accept()?;
            tell(serve_one(&config, socket, &source));
        }
    }

    fn fetch(&self, spec: &Spec, server: &Ready, _arrived: &Arrived) -> Result<Fetched> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(certificate::trust(&server.certificate)?)
            .with_no_client_auth();
        let name = ServerName::try_from(certificate::NAME)?;
        let mut connection = ClientConnection::new(Arc::new(config), name)?;
        let mut socket = TcpStream::connect(server.address)?;
        socket.set_nodelay(true)?;
        let mut stream = Stream::new(&mut connection, &mut socket);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        for _ in 0..spec.files {
            stream.write_all(&spec.bytes.to_be_bytes())?;
            bytes += read_exactly(&mut stream, spec.bytes, &mut buffer)?;
        }
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(Fetched::bytes(bytes))
    }
}

fn serve_one(config: &Arc<ServerConfig>, mut socket: TcpStream, source: &Source) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut connection = ServerConnection::new(Arc::clone(config))?;
    connection.set_buffer_limit(Some(2 * PIECE_BYTES));
    let mut stream = Stream::new(&mut connection, &mut socket);
    while let Some(bytes) = read_request(&mut stream)? {
        for piece in source.pieces(bytes, PIECE_BYTES) {
            stream.write_all(&piece)?;
        }
        stream.flush()?;
    }
    Ok(())
}
