//! `[database]`: which database, and how much of it one process uses.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::secret::Secret;

/// The settings under `[database]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite:///absolute/path`, `sqlite://relative/path` (from the config file's folder), `sqlite::memory:` or
    /// `postgres://user:password@host/name`.
    /// Unset: `identity.db` in the data folder.
    pub url: Option<Secret<String>>,
    /// A file that holds the URL, so that its password stands in no config file.
    pub url_file: Option<PathBuf>,
    /// Connections that one process opens at most.
    pub max_connections: usize,
    /// What SQLite waits for at a commit. `normal` never corrupts, but a power cut may take back the last commits;
    /// `full` keeps them at the price of one disk flush each. PostgreSQL has its own setting.
    #[serde(deserialize_with = "shared::config::word")]
    pub synchronous: Synchronous,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, url_file: None, max_connections: 8, synchronous: Synchronous::Normal }
    }
}

/// SQLite's `PRAGMA synchronous`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Flush at checkpoints.
    Normal,
    /// Flush at every commit.
    Full,
}

impl Synchronous {
    /// The word that SQLite knows.
    pub fn pragma(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Full => "FULL",
        }
    }
}

/// Where the database is, as the URL says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Gone when the process ends.
    SqliteMemory,
    /// One file, with its `-wal` and `-shm` beside it.
    SqliteFile(PathBuf),
    /// The URL for the driver; may hold a password.
    Postgres(String),
}

impl Database {
    /// Makes a relative SQLite path start at `folder`.
    pub(super) fn place(&mut self, folder: &Path) {
        if let Ok(Location::SqliteFile(path)) = self.location() {
            self.url = Some(Secret::new(format!("sqlite://{}", folder.join(path).display())));
        }
    }

    /// Reads the URL.
    ///
    /// # Errors
    /// A text that says which forms exist; it never quotes the URL, which may hold a password.
    pub fn location(&self) -> Result<Location, String> {
        let url = self.url.as_ref().map_or("", |url| url.expose().as_str());
        if url == "sqlite::memory:" {
            Ok(Location::SqliteMemory)
        } else if let Some(path) = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()) {
            Ok(Location::SqliteFile(PathBuf::from(path)))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Location::Postgres(url.to_owned()))
        } else {
            Err("expected sqlite:///path, sqlite::memory: or postgres://user@host/name".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Database, Location};
    use shared::secret::Secret;

    fn location(url: &str) -> Result<Location, String> {
        Database { url: Some(Secret::new(url.to_owned())), ..Database::default() }.location()
    }

    #[test]
    fn each_form_of_the_url_is_understood() {
        assert_eq!(location("sqlite::memory:"), Ok(Location::SqliteMemory));
        assert_eq!(location("sqlite:///var/lib/x.db"), Ok(Location::SqliteFile("/var/lib/x.db".into())));
        assert_eq!(location("sqlite://x.db"), Ok(Location::SqliteFile("x.db".into())));
        assert_eq!(location("postgres://u@h/d"), Ok(Location::Postgres("postgres://u@h/d".into())));
    }

    #[test]
    fn a_relative_path_starts_at_the_folder_of_the_settings() {
        let placed = |url: &str| {
            let mut database = Database { url: Some(Secret::new(url.to_owned())), ..Database::default() };
            database.place("/etc/x".as_ref());
            database.location().unwrap()
        };
        assert_eq!(placed("sqlite://data/x.db"), Location::SqliteFile("/etc/x/data/x.db".into()));
        assert_eq!(placed("sqlite:///var/x.db"), Location::SqliteFile("/var/x.db".into()));
        assert_eq!(placed("sqlite::memory:"), Location::SqliteMemory);
    }

    #[test]
    fn a_url_that_is_not_understood_is_not_quoted() {
        let error = location("mysql://root:hunter2@h/d").unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("postgres://"), "{error}");
        assert!(location("sqlite://").is_err());
        assert!(location("").is_err());
    }
}
