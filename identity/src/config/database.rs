//! `[database]`: the database, its connections and their time limits, and who migrates it.
//!
//! Invariant: every wait for the database is bounded.

mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration, secret};
use shared::secret::Secret;
use shared::text_file;

/// The forms of the URL.
pub const EXPECTED: &str = "expected sqlite:///path, sqlite::memory: or postgres://user@host/name";

/// The section `[database]` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDatabase {
    /// `sqlite:///absolute/path`, `sqlite://relative/path` (from the configuration file's folder), `sqlite::memory:` or
    /// `postgres://user:password@host/name`. Default: `identity.db` in the data folder.
    url: Option<Secret<String>>,
    /// A file that holds the URL, because the URL may hold a password.
    url_file: Option<PathBuf>,
    max_connections: usize,
    connect_timeout: HumanDuration,
    statement_timeout: HumanDuration,
    pool_timeout: HumanDuration,
    start_timeout: HumanDuration,
    #[serde(deserialize_with = "shared::config::word")]
    prepared_statements: PreparedStatements,
    migrate: bool,
    /// The URL for migrations, if it is another one.
    migrate_url: Option<Secret<String>>,
    migrate_url_file: Option<PathBuf>,
    #[serde(deserialize_with = "shared::config::word")]
    synchronous: Synchronous,
}

/// The section `[database]`, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    pub location: Location,
    /// Connections that one process opens at most.
    pub max_connections: usize,
    /// When SQLite flushes to disk. `normal` never corrupts, but a power cut may lose the last commits; `full` keeps them
    /// at the price of one flush each. PostgreSQL has its own setting.
    pub synchronous: Synchronous,
    /// Whether statements to PostgreSQL are named.
    pub prepared_statements: PreparedStatements,
    /// Whether a start migrates the schema. Otherwise it waits for another process to do so.
    pub migrate: bool,
    /// The PostgreSQL URL for migrations, if it is another one.
    pub migrate_url: Option<Secret<String>>,
    /// The limit for opening one connection to one server, if the URL sets none.
    pub connect_timeout: Duration,
    /// The limit for one statement to PostgreSQL, except in migrations.
    pub statement_timeout: Duration,
    /// The limit for waiting for a connection of the pool.
    pub pool_timeout: Duration,
    /// How long a start waits for a database that is not reachable, or for its migration.
    pub start_timeout: Duration,
}

/// Whether statements are prepared under a name and reused. A transaction pooler such as pgbouncer gives each transaction
/// another server connection, which does not know the names.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PreparedStatements {
    /// Named on connections that lead to the server itself.
    Auto,
    /// Always named: there is no pooler, or it tracks the names.
    Named,
    /// Never named.
    Unnamed,
}

/// SQLite's `PRAGMA synchronous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Flush at checkpoints.
    Normal,
    /// Flush at every commit.
    Full,
}

impl Synchronous {
    /// The argument of the PRAGMA.
    pub fn pragma(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Full => "FULL",
        }
    }
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq)]
pub enum Location {
    /// SQLite in memory; the data is lost on exit.
    SqliteMemory,
    /// One file, with its `-wal` and `-shm` beside it.
    SqliteFile(PathBuf),
    /// The URL for the driver, which may hold a password.
    Postgres(Secret<String>),
}

impl Default for RawDatabase {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            max_connections: 8,
            synchronous: Synchronous::Normal,
            prepared_statements: PreparedStatements::Auto,
            migrate: true,
            migrate_url: None,
            migrate_url_file: None,
            connect_timeout: HumanDuration::from_secs(10),
            statement_timeout: HumanDuration::from_secs(30),
            pool_timeout: HumanDuration::from_secs(10),
            start_timeout: HumanDuration::from_secs(60),
        }
    }
}

impl RawDatabase {
    pub(super) fn complete(self, base: &Path, data_dir: &Path) -> Result<Database, ConfigError> {
        if self.max_connections == 0 {
            return Err(ConfigError::invalid("database.max_connections", "expected at least 1"));
        }
        for (key, limit) in [
            ("database.connect_timeout", self.connect_timeout),
            ("database.statement_timeout", self.statement_timeout),
            ("database.pool_timeout", self.pool_timeout),
        ] {
            if limit < HumanDuration::from_millis(100) {
                return Err(ConfigError::invalid(key, "expected at least \"100ms\""));
            }
        }
        let read = |key: &str, url: Option<&Secret<String>>, file: Option<&Path>| {
            let url = secret(key, url, file)?;
            Ok::<_, ConfigError>(url.map(|url| Secret::new(text_file::unquoted(url.expose()).to_owned())))
        };
        let url_file = self.url_file.map(|file| base.join(file));
        let url = read("database.url", self.url.as_ref(), url_file.as_deref())?;
        if let Some(problem) = url.as_ref().and_then(|url| url::problem(url.expose())) {
            let key = if url_file.is_some() { "database.url_file" } else { "database.url" };
            return Err(ConfigError::invalid(key, problem));
        }
        let location = match url {
            Some(url) => Location::parse(url.expose(), base).map_err(|error| match &url_file {
                Some(file) => {
                    ConfigError::invalid("database.url_file", format!("{} has no URL; {EXPECTED}", file.display()))
                }
                None => error,
            })?,
            None => Location::SqliteFile(data_dir.join("identity.db")),
        };
        let migrate_url_file = self.migrate_url_file.map(|file| base.join(file));
        let migrate_url = read("database.migrate_url", self.migrate_url.as_ref(), migrate_url_file.as_deref())?;
        if let Some(problem) = migrate_url.as_ref().and_then(|url| url::problem(url.expose())) {
            let key = if migrate_url_file.is_some() { "database.migrate_url_file" } else { "database.migrate_url" };
            return Err(ConfigError::invalid(key, problem));
        }
        if migrate_url.is_some() && !matches!(location, Location::Postgres(_)) {
            let problem = "only PostgreSQL has another URL for migrations; remove it";
            return Err(ConfigError::invalid("database.migrate_url", problem));
        }
        Ok(Database {
            location,
            max_connections: self.max_connections,
            synchronous: self.synchronous,
            prepared_statements: self.prepared_statements,
            migrate: self.migrate,
            migrate_url,
            connect_timeout: self.connect_timeout.get(),
            statement_timeout: self.statement_timeout.get(),
            pool_timeout: self.pool_timeout.get(),
            start_timeout: self.start_timeout.get(),
        })
    }
}

impl Database {
    /// What an operator should know of the way to the database.
    pub(super) fn notice(&self) -> Option<String> {
        let Location::Postgres(url) = &self.location else { return None };
        url::is_plain_beyond_this_machine(url.expose()).then(|| {
            "INSECURE: [database] the URL has sslmode=disable, so the password and all data go through the network as plain \
             text; remove it unless you trust the network"
                .to_owned()
        })
    }
}

/// The driver has no modes `verify-ca` and `verify-full`: with TLS this server verifies issuer and name anyway.
fn with_known_ssl_mode(url: &str) -> String {
    let Some((place, options)) = url.split_once('?') else { return url.to_owned() };
    let options = options.split('&').map(|option| match option {
        "sslmode=verify-full" | "sslmode=verify-ca" => "sslmode=require",
        other => other,
    });
    format!("{place}?{}", options.collect::<Vec<_>>().join("&"))
}

/// Whether the path can be that of a file: not of a folder, and without options.
fn is_file_name(path: &str) -> bool {
    !path.is_empty() && !path.ends_with('/')
}

#[cfg(test)]
impl Database {
    /// The database of a test.
    pub fn at(url: &str) -> Self {
        let raw = RawDatabase { url: Some(Secret::new(url.to_owned())), ..RawDatabase::default() };
        // A test of a database that is not reachable does not wait for it.
        Self { start_timeout: Duration::ZERO, ..raw.complete(Path::new(""), Path::new("")).unwrap() }
    }
}

impl Location {
    /// Parses a URL. A relative SQLite path starts at `base`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the known forms. It never quotes the URL, which may hold a password.
    pub fn parse(url: &str, base: &Path) -> Result<Self, ConfigError> {
        if url == "sqlite::memory:" {
            Ok(Self::SqliteMemory)
        } else if let Some(path) = url.strip_prefix("sqlite://").filter(|path| is_file_name(path)) {
            Ok(Self::SqliteFile(base.join(path)))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Self::Postgres(Secret::new(with_known_ssl_mode(url))))
        } else {
            Err(ConfigError::invalid("database.url", EXPECTED))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Location, RawDatabase};

    /// The form and what it holds.
    fn location(url: &str) -> Result<(&'static str, String), String> {
        match Location::parse(url, Path::new("/etc/x")) {
            Ok(Location::SqliteMemory) => Ok(("memory", String::new())),
            Ok(Location::SqliteFile(path)) => Ok(("file", path.display().to_string())),
            Ok(Location::Postgres(url)) => Ok(("postgres", url.expose().clone())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn each_form_of_the_url_is_parsed_and_a_relative_path_starts_at_the_folder_of_the_configuration() {
        for (url, form, place) in [
            ("sqlite::memory:", "memory", ""),
            ("sqlite:///var/lib/x.db", "file", "/var/lib/x.db"),
            ("sqlite://data/x.db", "file", "/etc/x/data/x.db"),
            ("postgres://u@h/d", "postgres", "postgres://u@h/d"),
            ("postgresql://u@h/d", "postgres", "postgresql://u@h/d"),
            ("postgres://u@h/d?a=b&sslmode=verify-full", "postgres", "postgres://u@h/d?a=b&sslmode=require"),
            ("postgres://u@h/d?sslmode=verify-ca", "postgres", "postgres://u@h/d?sslmode=require"),
        ] {
            assert_eq!(location(url), Ok((form, place.to_owned())), "{url}");
        }
    }

    #[test]
    fn an_invalid_url_is_rejected_and_not_quoted() {
        for url in ["mysql://root:hunter2@h/d", "sqlite://", "sqlite:///", "sqlite://data/", ""] {
            let error = location(url).unwrap_err();
            assert!(error.starts_with("[database] url: expected sqlite:///path"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_password_that_is_not_percent_encoded_is_an_error() {
        let complete = |url: &str| {
            let raw = RawDatabase { url: Some(shared::secret::Secret::new(url.to_owned())), ..RawDatabase::default() };
            raw.complete(Path::new(""), Path::new("")).map(drop).map_err(|error| error.to_string())
        };
        for url in [
            "postgres://u:p@h/d",
            "postgres://u:p%40ss@h:5432/d?application_name=b@c",
            "postgres://h/d",
            "sqlite://a#b@c.db",
        ] {
            assert_eq!(complete(url), Ok(()), "{url}");
        }
        for password in ["hunter@2", "hunter/2", "hunter#2", "hunter%2", "hunter 2", "hunter%zz", "h/u@2"] {
            let error = complete(&format!("postgres://u:{password}@h/d")).unwrap_err();
            assert!(
                error.starts_with("[database] url: ") && error.contains("%40") && !error.contains("hunter"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_file_of_the_url_may_have_a_mark_and_quotes() {
        let folder = tempfile::tempdir().unwrap();
        let complete = |content: &str| {
            std::fs::write(folder.path().join("url"), content).unwrap();
            let raw = RawDatabase { url_file: Some("url".into()), ..RawDatabase::default() };
            raw.complete(folder.path(), Path::new("/data")).map_err(|error| error.to_string())
        };
        let database = complete("\u{feff} \"postgres://u:hunter2@h/d\" \r\n").unwrap();
        assert!(matches!(database.location, Location::Postgres(url) if url.expose() == "postgres://u:hunter2@h/d"));
        let error = complete("DATABASE_URL=postgres://u:hunter2@h/d").unwrap_err();
        assert!(error.starts_with("[database] url_file: ") && error.contains("url has no URL; expected"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn debug_output_hides_the_password() {
        let location = Location::parse("postgres://u:hunter2@h/d", Path::new("")).unwrap();
        assert!(!format!("{location:?}").contains("hunter2"));
    }
}
