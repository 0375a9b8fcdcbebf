//! Certificates for the fakes: an authority that the server under test trusts, and everything it should
//! refuse.
//!
//! Invariant: keys are new in every process; nothing here is ever valid outside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate authority.
#[derive(Clone, Debug)]
pub struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

/// A certificate for a server, with its private key.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    /// A new authority with this name and a key of its own.
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(Arc::new(CertifiedIssuer::self_signed(params, key()).expect("fixed parameters")))
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes its certificate to `folder/ca.pem`, for `[outbound] extra_ca_file`; gives the path.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_pem(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        std::fs::write(&path, self.pem()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// A good certificate for `names`: host names, `*.` wildcards, IP addresses (with or without brackets).
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.sign(&leaf(names))
    }

    /// A certificate for `names` that ended long ago.
    pub fn issue_expired(&self, names: &[&str]) -> Certificate {
        let mut params = leaf(names);
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        self.sign(&params)
    }

    /// A certificate for `names` that will begin in a far future.
    pub fn issue_early(&self, names: &[&str]) -> Certificate {
        let mut params = leaf(names);
        params.not_before = date_time_ymd(2200, 1, 1);
        self.sign(&params)
    }

    /// A certificate for a client, with its key, in PEM.
    pub fn issue_client_pem(&self, name: &str) -> String {
        self.sign_client(params(&[], name))
    }

    /// The same, ended long ago.
    pub fn issue_expired_client_pem(&self, name: &str) -> String {
        let mut params = params(&[], name);
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        self.sign_client(params)
    }

    fn sign_client(&self, mut params: CertificateParams) -> String {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("fixed parameters");
        certificate.pem() + &key.serialize_pem()
    }

    /// What a client that trusts this authority alone takes.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority's certificate");
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    fn sign(&self, params: &CertificateParams) -> Certificate {
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("fixed parameters");
        Certificate::new(certificate.der(), &key)
    }
}

impl Certificate {
    /// A certificate for `names` that only its own key vouches for.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = key();
        Self::new(leaf(names).self_signed(&key).expect("fixed parameters").der(), &key)
    }

    /// How a server presents it, offering `alpn` (for instance `h2`), none if empty.
    pub fn server_config(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        let mut config = config
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .expect("the key belongs to the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// As [`Certificate::server_config`], for clients that present a certificate from `authority`, and no others.
    pub fn server_config_for_clients(&self, alpn: &[&str], authority: &Authority) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).expect("an authority's certificate");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_client_cert_verifier(verifier.build().expect("there is a root"));
        let config = config.with_single_cert(self.chain.clone(), self.key.clone_key());
        let mut config = config.expect("the key belongs to the certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Writes the certificate to `folder/certificate.pem` and its private key to `folder/key.pem`, for
    /// `[http] tls_cert_file` and `tls_key_file`; gives the paths.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn write_pem(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let certificates = self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate));
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        (write("certificate.pem", certificates.collect()), write("key.pem", pem("PRIVATE KEY", self.key.secret_der())))
    }

    fn new(der: &CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8, as rcgen writes it");
        Self { chain: vec![der.clone()], key }
    }
}

/// RFC 7468, in one line: every reader takes lines of any length.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn leaf(names: &[&str]) -> CertificateParams {
    let mut params = params(names, "a server of the tests");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| name.trim_matches(['[', ']']).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names in ASCII");
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2999, 1, 1));
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::{Authority, Certificate};
    use rustls::pki_types::ServerName;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    /// What a client of `authority` says to `certificate` when it looks for `name`.
    async fn handshake(authority: &Authority, certificate: &Certificate, name: &str) -> Result<(), String> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let acceptor = TlsAcceptor::from(certificate.server_config(&[]));
        let serving = tokio::spawn(async move { acceptor.accept(far).await.map(drop) });
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let outcome = TlsConnector::from(authority.client_config()).connect(name, near).await;
        drop(serving);
        outcome.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_good_certificate_passes_for_its_names_alone() {
        let authority = Authority::new("the tests");
        let certificate = authority.issue(&["hs.example", "*.x.example", "127.0.0.1", "[::1]"]);
        for name in ["hs.example", "a.x.example", "127.0.0.1", "::1"] {
            assert_eq!(handshake(&authority, &certificate, name).await, Ok(()), "{name}");
        }
        for name in ["other.example", "a.b.x.example", "127.0.0.2"] {
            let refusal = handshake(&authority, &certificate, name).await.unwrap_err();
            assert!(refusal.contains("not valid for name"), "{name}: {refusal}");
        }
    }

    #[tokio::test]
    async fn each_bad_certificate_is_bad_for_its_own_reason() {
        let authority = Authority::new("the tests");
        let names = &["hs.example"];
        for (certificate, reason) in [
            (authority.issue_expired(names), "expired"),
            (authority.issue_early(names), "not valid yet"),
            (Certificate::self_signed(names), "UnknownIssuer"),
            (Authority::new("others").issue(names), "UnknownIssuer"),
            (Authority::new("the tests").issue(names), "BadSignature"),
        ] {
            let refusal = handshake(&authority, &certificate, "hs.example").await.unwrap_err();
            assert!(refusal.contains(reason), "{refusal}, not {reason}");
        }
    }

    #[test]
    fn the_authority_is_written_where_the_server_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("the tests");
        let path = authority.write_pem(folder.path());
        assert_eq!(std::fs::read_to_string(path).unwrap(), authority.pem());
        assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
