//! Client certificates: the older way to authenticate to APNs.
//!
//! Invariant: a certificate is used only with the key that belongs to it.

use std::sync::Arc;

use p12_keystore::Pkcs12Archive;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use shared::certificate_chain::{ChainError, Validity, certified_key};
use shared::pem::{self, PemError};
use shared::secret::Secret;
use shared::text_file;

/// A client certificate with its key.
#[derive(Debug)]
pub(in super::super) struct ClientCertificate {
    key: Arc<CertifiedKey>,
    /// From when to when it is valid.
    pub(super) validity: Validity,
}

/// Why a file is unusable as a client certificate; the subject is the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum InvalidCertificate {
    #[error(transparent)]
    Pem(#[from] PemError),
    /// PKCS#12 without the right password, or damaged.
    #[error("is PKCS#12 that the password does not open, or damaged; check cert_password, or convert the file to PEM")]
    Pkcs12,
    #[error("is unusable: {0}")]
    Chain(#[from] ChainError),
}

impl ClientCertificate {
    /// Reads the contents of a file, PEM or PKCS#12; PEM needs no password.
    pub(super) fn parse(file: &[u8], password: Option<&Secret<String>>) -> Result<Self, InvalidCertificate> {
        let (chain, key) = match pem::certificates(file) {
            Ok(chain) => (chain, pem::private_key(file)?),
            Err(PemError::OtherDer) => {
                let decoded = std::str::from_utf8(file).ok().and_then(text_file::of_base64);
                from_pkcs12(decoded.as_ref().map_or(file, |decoded| decoded.as_slice()), password)?
            }
            Err(error) => return Err(error.into()),
        };
        let key = certified_key(chain, key)?;
        let validity = key.cert.first().and_then(Validity::of).ok_or(ChainError::Certificate)?;
        Ok(Self { key: Arc::new(key), validity })
    }

    /// Makes connections with `config` present it.
    pub(super) fn present(&self, config: &mut rustls::ClientConfig) {
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)));
    }
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn from_pkcs12(file: &[u8], password: Option<&Secret<String>>) -> Result<ChainAndKey, InvalidCertificate> {
    let password = password.map_or("", |password| password.expose());
    let archive = Pkcs12Archive::from_pkcs12(file, password).map_err(|_| InvalidCertificate::Pkcs12)?;
    let key = archive.keys.first().ok_or(PemError::NoKey)?;
    let chain = archive.certs.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    Ok((chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()))))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use p12_keystore::{Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use shared::clock::Timestamp;
    use shared::secret::Secret;

    use shared::text_file::TextError;

    use super::{ChainError, ClientCertificate, InvalidCertificate, PemError};

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
            assert_eq!(ClientCertificate::parse(pem.as_bytes(), None).unwrap().validity.end, END);
        }
        for algorithm in
            [EncryptionAlgorithm::PbeWithHmacSha256AndAes256, EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc]
        {
            let file = pkcs12(&certificate, &key, algorithm);
            let read = |password: &str| ClientCertificate::parse(&file, Some(&Secret::new(password.to_owned())));
            assert_eq!(read("sesame").unwrap().validity.end, END);
            assert_eq!(read("guess").unwrap_err(), InvalidCertificate::Pkcs12);
            assert_eq!(ClientCertificate::parse(&file, None).unwrap_err(), InvalidCertificate::Pkcs12);
            let base64 = base64::engine::general_purpose::STANDARD.encode(&file);
            let password = Secret::new("sesame".to_owned());
            assert_eq!(ClientCertificate::parse(base64.as_bytes(), Some(&password)).unwrap().validity.end, END);
        }
    }

    #[test]
    fn only_a_certificate_with_its_key_is_accepted() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        for (file, expected) in [
            (String::new(), PemError::Text(TextError::Empty).into()),
            (String::from("nonsense"), PemError::Unknown.into()),
            (certificate.pem(), PemError::NoKey.into()),
            (key.serialize_pem(), PemError::NoCertificate.into()),
            (certificate.pem() + &other.serialize_pem(), ChainError::Mismatch.into()),
        ] {
            assert_eq!(ClientCertificate::parse(file.as_bytes(), None).unwrap_err(), expected, "{file}");
        }
        let file = pkcs12(&certificate, &other, EncryptionAlgorithm::PbeWithHmacSha256AndAes256);
        let read = ClientCertificate::parse(&file, Some(&Secret::new(String::from("sesame"))));
        assert_eq!(read.unwrap_err(), InvalidCertificate::Chain(ChainError::Mismatch));
    }
}
