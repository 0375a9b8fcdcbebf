//! TLS settings of outbound connections: trusted roots, and the switch that disables verification.
//!
//! Invariant: verification covers the name, the dates and the issuer of every certificate, or it is off entirely.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use url::Host;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pem;

/// Why the TLS settings cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with additional roots is unusable.
    #[error("[outbound] extra_ca_file: {path} {reason}")]
    ExtraCa {
        /// The configured file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The system has no trusted roots, or the TLS library rejected the settings.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Settings that trust the system's roots and those in `extra_ca_file` (PEM). A certificate in that file is also trusted
/// when a server presents it itself. Without `verify` every certificate is accepted.
///
/// # Errors
/// [`TlsError`] if the file cannot be read or contains no certificate, or if there is no trusted root.
pub fn client_config(extra_ca_file: Option<&Path>, verify: bool) -> Result<ClientConfig, TlsError> {
    let extra = extra_ca_file.map(read_certificates).transpose()?.unwrap_or_default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if verify {
        let usual = Verifier::new_with_extra_roots(extra.iter().cloned(), Arc::clone(&provider))?;
        Arc::new(WithNamedCertificates { usual, named: extra })
    } else {
        Arc::new(AnyCertificate(Arc::clone(&provider)))
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// The name that the certificate of `host` must have; `None` for an invalid host name.
pub(super) fn server_name(host: &Host<String>) -> Option<ServerName<'static>> {
    Some(match host {
        Host::Domain(name) => ServerName::try_from(name.clone()).ok()?,
        Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
    })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::ExtraCa { path: path.to_path_buf(), reason };
    let file = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    pem::certificates(&file).map_err(|error| wrong(error.to_string()))
}

/// Trusts a certificate that the operator named, for its own names and dates, although its issuer is itself: the usual
/// verifier accepts no authority's certificate as a server's.
#[derive(Debug)]
struct WithNamedCertificates {
    usual: Verifier,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for WithNamedCertificates {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.named.iter().any(|named| named.as_ref() == certificate.as_ref()) {
            return self.usual.verify_server_cert(certificate, intermediates, name, ocsp, now);
        }
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let (validity, now) = (parsed.validity(), i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if now < validity.not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > validity.not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Accepts every certificate, including those that the verifying library cannot parse (X.509 v1).
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::{TlsError, client_config};

    #[test]
    fn a_file_without_a_certificate_is_an_error_that_names_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "not a certificate").unwrap();
        for path in [file.path(), Path::new("/nonexistent/ca.pem")] {
            let error = client_config(Some(path), true).unwrap_err();
            assert!(matches!(error, TlsError::ExtraCa { .. }));
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_certificate_is_read_as_it_was_pasted_and_a_key_is_never_shown() {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::new([]).unwrap().self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let load = |content: &[u8]| {
            std::fs::write(&file, content).unwrap();
            client_config(Some(&file), true).map(drop).map_err(|error| error.to_string())
        };
        let pem = authority.pem();
        for form in [pem.replace('\n', "\\n"), pem.replace('\n', " "), format!("\u{feff}{pem}")] {
            assert_eq!(load(form.as_bytes()), Ok(()), "{form}");
        }
        assert_eq!(load(authority.der()), Ok(()), "DER");
        let error = load(key.serialize_pem().replace('\n', "\\n").as_bytes()).unwrap_err();
        assert!(error.contains("ca.pem has no certificate") && !error.contains("45, 45"), "{error}");
    }

    #[test]
    fn settings_without_verification_need_no_root() {
        assert!(client_config(None, false).is_ok());
    }
}
