//! The certificate of a listener, which is renewed while the process runs.
//!
//! Invariant: an unusable file changes nothing; connections that exist keep their certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::digest_of_files;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(3);

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
    /// Reads both files.
    ///
    /// # Errors
    /// The problem, with the file's name.
    pub(super) fn load(chain: &Path, key: &Path) -> Result<Self, String> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(chain, key)?)));
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), current })
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        self.current.clone()
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
                Ok(certificate) => {
                    self.current.0.store(Arc::new(certificate));
                    tracing::info!(file = %self.chain.display(), "the certificate of the listener was read again");
                }
                // Perhaps only one of both files is new yet: the next look finds the other one.
                Err(error) => {
                    tracing::warn!(error, "the certificate of the listener is unusable; the loaded one stays");
                }
            }
        }
    }

    fn digest(&self) -> [u8; 32] {
        digest_of_files([self.chain.as_path(), &self.key])
    }
}

fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let bad = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(chain, &error))?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Also checks that the key belongs to the certificate.
    CertifiedKey::from_der(certificates, private_key, &provider).map_err(|error| bad(chain, &error))
}
