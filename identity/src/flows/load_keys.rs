//! Loads the signing keys at the start and at a reload, and compares them with those that the database knows.
//!
//! Invariant: a lost key file is never replaced in silence while the database has data.

use shared::clock::Timestamp;
use shared::random::Random;

use crate::config::server::Keys;
use crate::domain::recorded_key::{self, KeyMismatch, RecordedKey};
use crate::signing_keys::{SigningKeys, SigningKeysError};
use crate::store::{Store, StoreError, WriteError, recorded_keys};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    #[error(transparent)]
    Keys(#[from] SigningKeysError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("[keys] file: {path}: {mismatch}")]
    Mismatch { path: String, mismatch: KeyMismatch },
    #[error(
        "[keys] file: {0} does not exist, but the database has data that was signed and sealed with its keys; restore the \
         file. If it is lost, create one with `identity generate-key`"
    )]
    Missing(String),
}

impl WriteError for LoadKeysError {
    fn store_error(&self) -> Option<&StoreError> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}

/// Loads the keys at the start. A missing file is created if the database has no data.
///
/// # Errors
/// [`LoadKeysError`] with an action for the operator.
pub async fn load_keys(
    store: &Store,
    settings: &Keys,
    sign_as: Vec<String>,
    random: Random,
    now: Timestamp,
) -> Result<SigningKeys, LoadKeysError> {
    if settings.file.exists() {
        return reload_keys(store, settings, sign_as, now).await;
    }
    let (recorded, has_data) = store
        .read(async |conn| {
            Ok::<_, StoreError>((recorded_keys::list(conn).await?, recorded_keys::has_data(conn).await?))
        })
        .await?;
    let is_revoked = |key: &RecordedKey| settings.revoked.contains(&key.id);
    if has_data {
        match recorded.iter().find(|key| key.is_current) {
            Some(current) if is_revoked(current) => {}
            Some(current) => return Err(mismatch(settings, KeyMismatch::Lost(current.id.clone()))),
            None => return Err(LoadKeysError::Missing(settings.file.display().to_string())),
        }
    }
    let taken = recorded.iter().map(|key| key.id.as_str()).chain(settings.revoked.iter().map(String::as_str));
    let version = recorded_key::first_version(&taken.collect::<Vec<_>>());
    let keys = SigningKeys::load(&settings.file, &version, &settings.revoked, sign_as, random)?;
    record(store, settings, keys, now).await
}

/// Reads the key file.
///
/// # Errors
/// [`LoadKeysError`], also for a missing file.
pub async fn reload_keys(
    store: &Store,
    settings: &Keys,
    sign_as: Vec<String>,
    now: Timestamp,
) -> Result<SigningKeys, LoadKeysError> {
    let keys = SigningKeys::read(&settings.file, &settings.revoked, sign_as)?;
    record(store, settings, keys, now).await
}

async fn record(
    store: &Store,
    settings: &Keys,
    keys: SigningKeys,
    now: Timestamp,
) -> Result<SigningKeys, LoadKeysError> {
    let file: Vec<RecordedKey> = keys.public_halves();
    let revoked = settings.revoked.clone();
    let path = settings.file.display().to_string();
    let recorded = store.write(async move |conn| {
        let recorded = recorded_keys::list(conn).await?;
        let has_data = recorded_keys::has_data(conn).await?;
        let keys = recorded_key::compare(&file, &recorded, &revoked, has_data)
            .map_err(|mismatch| LoadKeysError::Mismatch { path: path.clone(), mismatch })?;
        let is_known = keys.len() == recorded.len() && keys.iter().all(|key| recorded.contains(key));
        if !is_known {
            recorded_keys::replace(conn, keys, now).await?;
        }
        Ok::<_, LoadKeysError>(recorded_key::notice(&file, &recorded, &revoked))
    });
    if let Some(notice) = recorded.await? {
        tracing::error!("[keys] file: {}: {notice}", settings.file.display());
    }
    Ok(keys)
}

fn mismatch(settings: &Keys, mismatch: KeyMismatch) -> LoadKeysError {
    LoadKeysError::Mismatch { path: settings.file.display().to_string(), mismatch }
}
