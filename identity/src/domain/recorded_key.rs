//! The keys that have signed for a database, and whether a key file belongs to it.
//!
//! Invariant: an id never changes its key while the database has data.

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedKey {
    /// `ed25519:<id>`
    pub id: String,
    pub public: Vec<u8>,
    /// Whether it signs.
    pub is_current: bool,
}

/// Why a key file does not belong to a database with data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyMismatch {
    #[error(
        "the key {0}, which has signed until now, is missing; restore the key file of this database, which all its \
         processes share. If the key is lost, add \"{0}\" to [keys] revoked: what it has signed and sealed is then no longer valid"
    )]
    Lost(String),
    #[error(
        "the key {0} is not the one that this database knows under this id; restore the key file of this database, or \
         give the new key an id that was never used"
    )]
    Reused(String),
}

/// A change of the signing key that is allowed, and wrong if another process still signs with the former one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyNotice {
    #[error(
        "the database has no data yet, so these keys replace the key {0} of another file; if another process uses this \
         database, stop all, give them the same file and start them again"
    )]
    Replaced(String),
    #[error(
        "the key {signer}, which is older, signs instead of {former}; if other processes use this database, give all the \
         same file"
    )]
    Older { signer: String, former: String },
}

/// What the operator must know about an accepted file, the current key first.
pub fn notice(file: &[RecordedKey], recorded: &[RecordedKey], revoked: &[String]) -> Option<KeyNotice> {
    let (signer, former) = (file.first()?, recorded.iter().find(|key| key.is_current)?);
    if revoked.contains(&former.id) || (&signer.id, &signer.public) == (&former.id, &former.public) {
        return None;
    }
    let is_in = |keys: &[RecordedKey], wanted: &RecordedKey| {
        keys.iter().any(|key| (&key.id, &key.public) == (&wanted.id, &wanted.public))
    };
    if !is_in(file, former) {
        return Some(KeyNotice::Replaced(former.id.clone()));
    }
    is_in(recorded, signer).then(|| KeyNotice::Older { signer: signer.id.clone(), former: former.id.clone() })
}

/// Compares the keys of the file, the current one first, with the recorded ones, and returns the keys to record.
///
/// # Errors
/// [`KeyMismatch`] if the file lacks the recorded current key, which is not `revoked`, or has another key under its id.
pub fn compare(
    file: &[RecordedKey],
    recorded: &[RecordedKey],
    revoked: &[String],
    has_data: bool,
) -> Result<Vec<RecordedKey>, KeyMismatch> {
    if !has_data {
        return Ok(file.to_vec());
    }
    for known in recorded {
        match file.iter().find(|key| key.id == known.id) {
            Some(key) if key.public != known.public => return Err(KeyMismatch::Reused(known.id.clone())),
            None if known.is_current && !revoked.contains(&known.id) => {
                return Err(KeyMismatch::Lost(known.id.clone()));
            }
            _ => {}
        }
    }
    // Keys that left the file stay recorded, so that their ids are not used again.
    let others = recorded.iter().filter(|known| file.iter().all(|key| key.id != known.id));
    Ok(file.iter().cloned().chain(others.map(|known| RecordedKey { is_current: false, ..known.clone() })).collect())
}

/// The version of the key in a new file: `0`, or [`next_version`] if that id is taken.
pub fn first_version(taken: &[&str]) -> String {
    if taken.contains(&"ed25519:0") { next_version(taken) } else { "0".to_owned() }
}

/// The version of a further key: the number after the highest one among `taken` ids.
pub fn next_version(taken: &[&str]) -> String {
    let numbers = taken.iter().filter_map(|id| id.strip_prefix("ed25519:")?.parse::<u64>().ok());
    numbers.max().unwrap_or(0).saturating_add(1).to_string()
}

#[cfg(test)]
mod tests {
    use super::{KeyMismatch, KeyNotice, RecordedKey, compare, first_version, next_version, notice};

    fn key(id: &str, public: u8, is_current: bool) -> RecordedKey {
        RecordedKey { id: format!("ed25519:{id}"), public: vec![public; 32], is_current }
    }

    #[test]
    fn a_file_without_the_current_key_or_with_another_one_under_its_id_is_a_mismatch() {
        let recorded = [key("0", 1, false), key("1", 2, true)];
        let compare = |file: &[RecordedKey]| compare(file, &recorded, &[], true);
        assert_eq!(compare(&[key("0", 1, true)]), Err(KeyMismatch::Lost("ed25519:1".into())));
        assert_eq!(compare(&[key("1", 3, true)]), Err(KeyMismatch::Reused("ed25519:1".into())));
        let wrong_retired = [key("1", 2, true), key("0", 3, false)];
        assert_eq!(compare(&wrong_retired), Err(KeyMismatch::Reused("ed25519:0".into())));
        // A rotation, and a retired key that the operator removed.
        let rotated = [key("2", 3, true), key("1", 2, false)];
        let expected = vec![key("2", 3, true), key("1", 2, false), key("0", 1, false)];
        assert_eq!(compare(&rotated), Ok(expected));
    }

    #[test]
    fn a_lost_key_can_be_revoked_and_an_unused_database_takes_any_key() {
        let (recorded, new) = ([key("0", 1, true)], [key("1", 2, true)]);
        let accepted = compare(&new, &recorded, &["ed25519:0".to_owned()], true);
        assert_eq!(accepted, Ok(vec![key("1", 2, true), key("0", 1, false)]));
        let same_id = [key("0", 2, true)];
        assert!(compare(&same_id, &recorded, &["ed25519:0".to_owned()], true).is_err());
        assert_eq!(compare(&same_id, &recorded, &[], false), Ok(same_id.to_vec()));
        assert_eq!(compare(&new, &[], &[], true), Ok(new.to_vec()));
    }

    #[test]
    fn a_key_that_replaces_an_unused_one_and_an_older_signer_are_noticed() {
        let recorded = [key("0", 1, false), key("1", 2, true)];
        let notice = |file: &[RecordedKey], revoked: &[String]| notice(file, &recorded, revoked);
        let replaced = Some(KeyNotice::Replaced("ed25519:1".into()));
        assert_eq!(notice(&[key("1", 3, true)], &[]), replaced);
        assert_eq!(notice(&[key("0", 1, true)], &[]), replaced);
        assert_eq!(notice(&[key("0", 1, true)], &["ed25519:1".to_owned()]), None);
        let older = KeyNotice::Older { signer: "ed25519:0".into(), former: "ed25519:1".into() };
        assert_eq!(notice(&[key("0", 1, true), key("1", 2, false)], &[]), Some(older));
        // The recorded order, and a rotation.
        assert_eq!(notice(&[key("1", 2, true), key("0", 1, false)], &[]), None);
        assert_eq!(notice(&[key("2", 3, true), key("1", 2, false)], &[]), None);
    }

    #[test]
    fn a_new_version_is_greater_than_every_used_one() {
        assert_eq!((first_version(&[]), next_version(&[])), ("0".into(), "1".into()));
        assert_eq!((first_version(&["ed25519:3"]), next_version(&["ed25519:3"])), ("0".into(), "4".into()));
        let taken = ["ed25519:0", "ed25519:7", "ed25519:b_9"];
        assert_eq!((first_version(&taken), next_version(&taken)), ("8".into(), "8".into()));
    }
}
