//! Client certificates: the older way to authenticate to APNs.
//!
//! Invariant: a certificate is used only with the key that belongs to it.

use std::sync::Arc;

use p12_keystore::Pkcs12Archive;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use shared::clock::Timestamp;
use shared::secret::Secret;

use crate::providers::pem;

/// A client certificate with its key.
#[derive(Debug)]
pub(in super::super) struct ClientCertificate {
    key: Arc<CertifiedKey>,
    /// When it expires.
    pub(super) not_after: Timestamp,
}

/// Why a file is unusable as a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum InvalidCertificate {
    /// Neither a certificate with a key in PEM nor PKCS#12, or a wrong password.
    #[error("expected a certificate with its private key, in PEM or in PKCS#12 with the right password")]
    Unreadable,
    #[error("the private key is encrypted with a password; decrypt it, or use PKCS#12 with cert_password")]
    EncryptedKey,
    #[error("the private key belongs to none of the certificates")]
    KeyMismatch,
}

impl ClientCertificate {
    /// Reads the contents of a file, PEM or PKCS#12; PEM needs no password.
    pub(super) fn parse(file: &[u8], password: Option<&Secret<String>>) -> Result<Self, InvalidCertificate> {
        let is_pem = file.windows(11).any(|part| part == b"-----BEGIN ");
        let (mut chain, key) = if is_pem { from_pem(file)? } else { from_pkcs12(file, password)? };
        own_first(&mut chain, &key);
        let not_after = chain.first().and_then(not_after).ok_or(InvalidCertificate::Unreadable)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => InvalidCertificate::KeyMismatch,
            _ => InvalidCertificate::Unreadable,
        })?;
        Ok(Self { key: Arc::new(key), not_after })
    }

    /// Makes connections with `config` present it.
    pub(super) fn present(&self, config: &mut rustls::ClientConfig) {
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)));
    }
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Puts the certificate of `key` first: files often have the authority's before it.
fn own_first(chain: &mut [CertificateDer<'static>], key: &PrivateKeyDer<'static>) {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let belongs = |certificate: &CertificateDer<'static>| {
        CertifiedKey::from_der(vec![certificate.clone()], key.clone_key(), &provider).is_ok()
    };
    if let Some(own) = chain.iter().position(belongs) {
        chain[..=own].rotate_right(1);
    }
}

fn from_pem(file: &[u8]) -> Result<ChainAndKey, InvalidCertificate> {
    let text = Secret::new(String::from_utf8_lossy(file).into_owned());
    if pem::is_encrypted(&text) {
        return Err(InvalidCertificate::EncryptedKey);
    }
    let text = pem::normalize(&text);
    let file = text.expose().as_bytes();
    let chain = CertificateDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(file);
    chain.ok().zip(key.ok()).ok_or(InvalidCertificate::Unreadable)
}

fn from_pkcs12(file: &[u8], password: Option<&Secret<String>>) -> Result<ChainAndKey, InvalidCertificate> {
    let password = password.map_or("", |password| password.expose());
    let archive = Pkcs12Archive::from_pkcs12(file, password).map_err(|_| InvalidCertificate::Unreadable)?;
    let key = archive.keys.first().ok_or(InvalidCertificate::Unreadable)?;
    // The certificate with the ID of the key comes first, then the rest of the chain.
    let (own, rest): (Vec<_>, Vec<_>) = archive.certs.iter().partition(|bag| {
        let ids = bag.local_key_id.as_deref().zip(key.local_key_id.as_ref());
        ids.is_some_and(|(bag, key)| bag == AsRef::<[u8]>::as_ref(key))
    });
    let chain = own.into_iter().chain(rest).map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    Ok((chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()))))
}

fn not_after(certificate: &CertificateDer<'static>) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    certificate.validity().not_after.timestamp().checked_mul(1000).map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use p12_keystore::{Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use shared::clock::Timestamp;
    use shared::secret::Secret;

    use super::{ClientCertificate, InvalidCertificate};

    /// 2031-01-02.
    const END: Timestamp = Timestamp::from_millis(1_925_078_400_000);

    fn pair() -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.not_after = date_time_ymd(2031, 1, 2);
        (params.self_signed(&key).unwrap(), key)
    }

    fn pkcs12(certificate: &rcgen::Certificate, key: &KeyPair, algorithm: EncryptionAlgorithm) -> Vec<u8> {
        let chain = PrivateKeyChain::new(
            "push",
            PrivateKey::from_der(&key.serialize_der()).unwrap(),
            [Certificate::from_der(certificate.der()).unwrap()],
        );
        let mut store = KeyStore::new();
        store.add_entry("push", KeyStoreEntry::PrivateKeyChain(chain));
        store.writer("sesame").encryption_algorithm(algorithm).write().unwrap()
    }

    #[test]
    fn a_certificate_is_read_from_pem_in_any_order_and_from_pkcs12_with_its_password() {
        let (certificate, key) = pair();
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        for pem in [format!("{certificate_pem}{key_pem}"), format!("Bag Attributes\n{key_pem}\n{certificate_pem}")] {
            assert_eq!(ClientCertificate::parse(pem.as_bytes(), None).unwrap().not_after, END);
        }
        for algorithm in
            [EncryptionAlgorithm::PbeWithHmacSha256AndAes256, EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc]
        {
            let file = pkcs12(&certificate, &key, algorithm);
            let read = |password: &str| ClientCertificate::parse(&file, Some(&Secret::new(password.to_owned())));
            assert_eq!(read("sesame").unwrap().not_after, END);
            assert_eq!(read("guess").unwrap_err(), InvalidCertificate::Unreadable);
            assert_eq!(ClientCertificate::parse(&file, None).unwrap_err(), InvalidCertificate::Unreadable);
        }
    }

    #[test]
    fn only_a_certificate_with_its_key_is_accepted() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        for (file, expected) in [
            (String::new(), InvalidCertificate::Unreadable),
            (String::from("nonsense"), InvalidCertificate::Unreadable),
            (certificate.pem(), InvalidCertificate::Unreadable),
            (key.serialize_pem(), InvalidCertificate::Unreadable),
            (certificate.pem() + &other.serialize_pem(), InvalidCertificate::KeyMismatch),
        ] {
            assert_eq!(ClientCertificate::parse(file.as_bytes(), None).unwrap_err(), expected, "{file}");
        }
        let file = pkcs12(&certificate, &other, EncryptionAlgorithm::PbeWithHmacSha256AndAes256);
        let read = ClientCertificate::parse(&file, Some(&Secret::new(String::from("sesame"))));
        assert_eq!(read.unwrap_err(), InvalidCertificate::KeyMismatch);
    }
}
