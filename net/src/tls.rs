//! TLS as Columba uses it: 1.3 only, raw Ed25519 public keys both ways (RFC 7250), ALPN, no
//! tickets, no certificates.
//!
//! A peer *is* its key. The handshake proves that it holds the private half; who may do what is
//! decided above: a server looks at the client's fingerprint after the handshake, a client gives
//! its expectation as [`PinCheck`].

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme, version,
};

use crate::identity::{Fingerprint, Identity};

/// The application protocol and its major version (RFC 7301).
pub const ALPN: &[u8] = b"columba/1";

/// What a client expects of the server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinCheck {
    /// This key. Another one ends the handshake before the client shows its own.
    Exactly(Fingerprint),
    /// Any key, for first contact: nothing is sent after the handshake until the caller has
    /// looked at the key and said so.
    AcceptAndReport,
}

/// The server has another key than the one pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's key is {presented}, not {expected}")]
pub struct PinMismatch {
    /// The pinned key.
    pub expected: Fingerprint,
    /// The key the server showed; whether it holds the private half was not checked any more.
    pub presented: Fingerprint,
}

/// A server's side of TLS, for any number of connections.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
}

/// A client's side of TLS, for connections to one server.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) check: PinCheck,
}

/// Every client must show a key; any key will do.
///
/// # Errors
/// The TLS library refuses the combination of algorithms: a build without them.
pub fn server_config(identity: &Identity) -> Result<ServerTls, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(AnyClientKey(provider.signature_verification_algorithms));
    let resolver = AlwaysResolvesServerRawPublicKeys::new(identity.certified_key());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(ServerTls {
        config: Arc::new(config),
    })
}

/// Shows `identity` to a server whose key passes `check`.
///
/// # Errors
/// As for [`server_config`].
pub fn client_config(identity: &Identity, check: PinCheck) -> Result<ClientTls, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(PinnedServerKey {
        check,
        algorithms: provider.signature_verification_algorithms,
    });
    let resolver = AlwaysResolvesClientRawPublicKeys::new(identity.certified_key());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(ClientTls {
        config: Arc::new(config),
        check,
    })
}

/// The name rustls wants to know of a server; with keys instead of certificates it means nothing.
pub(crate) fn unused_server_name() -> ServerName<'static> {
    ServerName::from(std::net::Ipv4Addr::UNSPECIFIED)
}

fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        // The hybrid first: what is recorded today stays secret from tomorrow's machines.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..aws_lc_rs::default_provider()
    }
}

/// A server's view of clients: their key must be well-formed and truly theirs.
#[derive(Debug)]
struct AnyClientKey(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyClientKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        fingerprint_of(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A client's view of its server.
#[derive(Debug)]
struct PinnedServerKey {
    check: PinCheck,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedServerKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = fingerprint_of(end_entity)?;
        match self.check {
            PinCheck::Exactly(expected) if expected != presented => {
                let mismatch = PinMismatch {
                    expected,
                    presented,
                };
                let error = CertificateError::Other(OtherError(Arc::new(mismatch)));
                Err(Error::InvalidCertificate(error))
            }
            PinCheck::Exactly(_) | PinCheck::AcceptAndReport => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The mismatch behind a failed handshake, if that was the reason.
pub(crate) fn pin_mismatch(error: &Error) -> Option<PinMismatch> {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) = error else {
        return None;
    };
    reason.downcast_ref::<PinMismatch>().copied()
}

fn fingerprint_of(cert: &CertificateDer<'_>) -> Result<Fingerprint, Error> {
    let malformed = Error::InvalidCertificate(CertificateError::BadEncoding);
    Fingerprint::of_spki(cert).ok_or(malformed)
}

fn verify_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(cert.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, dss, algorithms)
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not offered".into())
}
