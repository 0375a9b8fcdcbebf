//! The certificate of a listener, which is renewed while the process runs.
//!
//! Invariant: an unusable file changes nothing; connections that exist keep their certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::certificate_chain::{Validity, certified_key};
use crate::clock::{Clock, Timestamp};
use crate::config::{ConfigError, digest_of_files};
use crate::pem;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(3);

/// A certificate that expires within this time is reported. Programs that renew certificates do so earlier.
const EXPIRY_NOTICE: Duration = Duration::from_secs(3 * 86_400);

/// The certificate chain and its key, and the files that they come from.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads both files. A certificate that has expired is no error, but see [`Certificate::notice`].
    ///
    /// # Errors
    /// The problem, with the key and the file's name.
    pub(super) fn load(chain: &Path, key: &Path) -> Result<Self, ConfigError> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(chain, key)?)));
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), current })
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.current.clone()
    }

    /// The problem with the dates of the loaded certificate, if any.
    pub(super) fn notice(&self, now: Timestamp) -> Option<String> {
        let validity = self.current.0.load().cert.first().and_then(Validity::of)?;
        let problem = validity.problem(now, EXPIRY_NOTICE)?;
        Some(format!("[http] tls_cert_file: the certificate in {} {problem}", self.chain.display()))
    }

    /// Reads the files again whenever they change, and on SIGHUP.
    pub(super) async fn keep_current(self) {
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return };
        let mut known = self.digest();
        loop {
            tokio::select! {
                _ = hang_up.recv() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let digest = self.digest();
            if digest == known {
                continue;
            }
            known = digest;
            match read(&self.chain, &self.key) {
                Ok(certificate) if has_expired(&certificate) && !has_expired(&self.current.0.load()) => {
                    let file = self.chain.display();
                    tracing::error!(%file, "the new certificate of the listener has expired; the loaded one stays");
                }
                Ok(certificate) => {
                    self.current.0.store(Arc::new(certificate));
                    tracing::info!(file = %self.chain.display(), "the certificate of the listener was read again");
                }
                // Perhaps only one of both files is new yet: the next look finds the other one.
                Err(error) => {
                    tracing::warn!(%error, "the certificate of the listener is unusable; the loaded one stays");
                }
            }
        }
    }

    fn digest(&self) -> [u8; 32] {
        digest_of_files([self.chain.as_path(), &self.key])
    }
}

fn has_expired(certificate: &CertifiedKey) -> bool {
    let validity = certificate.cert.first().and_then(Validity::of);
    validity.is_some_and(|validity| validity.end < Clock::system().now())
}

fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, ConfigError> {
    let bad = |name: &str, path: &Path, problem: &dyn std::fmt::Display| {
        ConfigError::invalid(name, format!("{} {problem}", path.display()))
    };
    let content = |name: &str, path: &Path| {
        std::fs::read(path).map(Zeroizing::new).map_err(|error| bad(name, path, &format!("cannot be read: {error}")))
    };
    let (chain_key, key_key) = ("http.tls_cert_file", "http.tls_key_file");
    let certificates = pem::certificates(&content(chain_key, chain)?).map_err(|error| bad(chain_key, chain, &error))?;
    let private_key = pem::private_key(&content(key_key, key)?).map_err(|error| bad(key_key, key, &error))?;
    certified_key(certificates, private_key)
        .map_err(|error| ConfigError::invalid(key_key, format!("{} and {}: {error}", key.display(), chain.display())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::Certificate;
    use crate::clock::Timestamp;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["id.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2031, 1, 2));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn load(folder: &Path, chain: &str, key: &str) -> Result<Certificate, String> {
        let [chain_file, key_file] = ["chain.pem", "key.pem"].map(|name| folder.join(name));
        std::fs::write(&chain_file, chain).unwrap();
        std::fs::write(&key_file, key).unwrap();
        Certificate::load(&chain_file, &key_file).map_err(|error| error.to_string())
    }

    #[test]
    fn files_as_people_paste_them_are_read_and_an_error_shows_no_byte_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = pair();
        for form in [key.replace('\n', "\\n"), key.replace('\n', " "), format!("\u{feff}\"{}\"", key.trim())] {
            load(folder.path(), &chain.replace('\n', "\\n"), &form).unwrap();
        }
        let body = key.lines().nth(1).unwrap();
        for (chain, key, expected) in [
            (chain.as_str(), "x", "[http] tls_key_file: "),
            (&chain, &key[..key.len() - 40], "a part is missing"),
            (&chain, &key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "encrypted with a password"),
            (&chain, &chain, "no private key"),
            (&key, &key, "[http] tls_cert_file: "),
            ("", &key, "chain.pem is empty"),
            (&chain, &pair().1, "belongs to none of the certificates"),
        ] {
            let error = load(folder.path(), chain, key).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(&body[..16]) && !error.contains("45, 45"), "{error}");
        }
        let missing = Certificate::load(Path::new("/nowhere/a"), Path::new("/nowhere/b")).unwrap_err().to_string();
        assert!(missing.starts_with("[http] tls_cert_file: /nowhere/a cannot be read: "), "{missing}");
    }

    #[test]
    fn an_expired_certificate_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = pair();
        let certificate = load(folder.path(), &chain, &key).unwrap();
        let end = Timestamp::from_millis(1_925_078_400_000);
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(certificate.notice(end.minus(week)), None);
        let notice = certificate.notice(end.plus(week)).unwrap();
        assert!(notice.starts_with("[http] tls_cert_file: ") && notice.contains("EXPIRED 7 days ago"), "{notice}");
    }
}
