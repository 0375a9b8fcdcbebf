//! A certificate with its chain and its private key: for our listeners, and to authenticate to a push service.
//!
//! Invariant: the first certificate is that of the key, and no error contains a part of a file.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

use crate::clock::Timestamp;

/// Why a chain and a key are unusable together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate is X.509 v3.
    #[error("the certificate is not X.509 version 3 in valid DER; export it again")]
    Certificate,
    /// A kind of key without use in TLS.
    #[error(
        "the private key is not usable for TLS; expected RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519"
    )]
    Key,
    /// The key belongs to none of the certificates.
    #[error("the private key belongs to none of the certificates; use the key that the certificate was requested with")]
    Mismatch,
}

/// The chain with the certificate of `key` first and each issuer after what it issued, whatever the order was.
///
/// # Errors
/// [`ChainError`].
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, ChainError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|_| ChainError::Key)?;
    let belongs = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key)).keys_match().is_ok()
    };
    let Some(own) = chain.iter().position(belongs) else {
        let is_readable = chain.iter().any(|certificate| ParsedCertificate::try_from(certificate).is_ok());
        return Err(if is_readable { ChainError::Mismatch } else { ChainError::Certificate });
    };
    Ok(CertifiedKey::new(in_order(chain, own), key))
}

fn in_order(mut rest: Vec<CertificateDer<'static>>, own: usize) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![rest.remove(own)];
    while let Some(issuer) = chain.last().and_then(|last| position_of_issuer(last, &rest)) {
        chain.push(rest.remove(issuer));
    }
    chain.extend(rest);
    chain
}

fn position_of_issuer(certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<usize> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    others.iter().position(|other| {
        parse_x509_certificate(other).is_ok_and(|(_, other)| {
            other.tbs_certificate.subject.as_raw() == certificate.tbs_certificate.issuer.as_raw()
        })
    })
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub start: Timestamp,
    /// Not after.
    pub end: Timestamp,
}

impl Validity {
    /// The validity of a certificate; `None` if it is not X.509.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        let at = |seconds: i64| seconds.checked_mul(1000).map(Timestamp::from_millis);
        Some(Self { start: at(validity.not_before.timestamp())?, end: at(validity.not_after.timestamp())? })
    }

    /// What is wrong with a certificate of this validity, or will be within `notice`: "expired 3 days ago: renew it".
    pub fn problem(self, now: Timestamp, notice: Duration) -> Option<String> {
        if now > self.end {
            return Some(format!("EXPIRED {} ago: renew it", days(now.since(self.end))));
        }
        if now < self.start {
            return Some(format!(
                "is NOT VALID YET, only in {}: check the clock of this machine, or use the earlier certificate",
                days(self.start.since(now))
            ));
        }
        let left = self.end.since(now);
        (left < notice).then(|| format!("expires in {}: renew it", days(left)))
    }
}

/// Whole days, or hours below two days.
fn days(duration: Duration) -> String {
    match duration.as_secs() / 3600 {
        hours @ 0..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::{ChainError, Validity, certified_key};
    use crate::clock::Timestamp;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new([format!("{name}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(key.serialize_der()).into()
    }

    #[test]
    fn the_chain_is_put_in_order_and_the_key_must_belong_to_it() {
        let root = CertifiedIssuer::self_signed(authority("root"), KeyPair::generate().unwrap()).unwrap();
        let middle = CertifiedIssuer::signed_by(authority("middle"), KeyPair::generate().unwrap(), &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = params("leaf").signed_by(&key, &middle).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone(), middle.der().clone(), root.der().clone()];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let written = order.map(|index| chain[index].clone()).to_vec();
            assert_eq!(certified_key(written, der(&key)).unwrap().cert, chain, "{order:?}");
        }
        let other = KeyPair::generate().unwrap();
        assert_eq!(certified_key(chain, der(&other)).unwrap_err(), ChainError::Mismatch);
        let bad = vec![CertificateDer::from(vec![0x30, 0])];
        assert_eq!(certified_key(bad, der(&key)).unwrap_err(), ChainError::Certificate);
        let unusable = PrivatePkcs8KeyDer::from(vec![0x30, 0]).into();
        assert_eq!(certified_key(vec![leaf.der().clone()], unusable).unwrap_err(), ChainError::Key);
    }

    #[test]
    fn expired_early_and_soon_expiring_certificates_are_named() {
        let hours = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let validity = Validity { start: hours(0), end: hours(2400) };
        let problem = |now: i64| validity.problem(hours(now), Duration::from_secs(3 * 86_400)).unwrap_or_default();
        assert_eq!(problem(2472 + 1), "EXPIRED 3 days ago: renew it");
        assert!(problem(-30).starts_with("is NOT VALID YET, only in 30 hours: "), "{}", problem(-30));
        assert_eq!(problem(2400 - 50), "expires in 2 days: renew it");
        assert_eq!(problem(100), "");
        let mut params = params("x");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2031, 1, 2));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let at = |millis| Timestamp::from_millis(millis);
        let expected = Validity { start: at(1_577_836_800_000), end: at(1_925_078_400_000) };
        assert_eq!(Validity::of(certificate.der()), Some(expected));
    }
}
