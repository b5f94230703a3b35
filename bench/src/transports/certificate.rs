//! A certificate for loopback, made anew by each server and told to its clients.

use anyhow::{Context, Result};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The name in the certificate.
pub(super) const NAME: &str = "localhost";

/// A server's certificate and key.
pub(super) struct Credentials {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) certificate_pem: String,
    #[cfg_attr(
        not(feature = "peers"),
        expect(dead_code, reason = "a peer takes its key as text")
    )]
    pub(super) key_pem: String,
}

impl Credentials {
    pub(super) fn make() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])
            .context("cannot make a certificate")?;
        Ok(Self {
            certificate: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        })
    }
}

/// Trust in this certificate only.
pub(super) fn trust(certificate_pem: &str) -> Result<RootCertStore> {
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .context("the server's certificate is none")?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    Ok(roots)
}
