//! `[server]` and `[keys]`: the identity of this server.
//!
//! Invariant: the public base URL is https unless the operator allows http.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::config::{ConfigError, OneOrMany};
use url::Url;

use super::operator::Operator;
use crate::domain::server_name::ServerName;
use crate::domain::x_matrix::Destinations;

/// The section `[server]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawServer {
    name: Option<String>,
    public_base_url: Option<String>,
    aliases: OneOrMany<String>,
    allow_http_base_url: bool,
    operator: Option<String>,
    help_url: Option<String>,
    privacy_url: Option<String>,
    /// Default: systemd's `STATE_DIRECTORY`, else `matrix-identity` in the user's data folder (XDG).
    data_dir: Option<PathBuf>,
}

/// The section `[server]`, complete.
#[derive(Clone, Debug)]
pub struct Server {
    /// The name in signatures of associations. Default: the host and port of `public_base_url`.
    name: Option<String>,
    /// The URL at which clients and browsers reach this server. Default, for development: `http://` and the first address
    /// of `[http] bind`.
    public_base_url: Option<String>,
    /// More names that homeservers may sign requests for: a host with an optional port and an optional path. `name`, the
    /// authority of `public_base_url`, and that authority with its path always count.
    aliases: Vec<String>,
    /// Whether `public_base_url` may be http.
    pub allow_http_base_url: bool,
    /// Who runs this server.
    pub operator: Operator,
    /// The folder of the database, the signing key and development mail, unless their own keys name another.
    pub data_dir: PathBuf,
}

/// The section `[keys]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawKeys {
    file: Option<PathBuf>,
    revoked: OneOrMany<String>,
    sign_as: OneOrMany<String>,
}

/// The section `[keys]`, complete.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Lines `ed25519 <id> <unpadded base64 seed>`: the first key signs, the others are retired. The server creates a
    /// missing file.
    pub file: PathBuf,
    /// Ids (`ed25519:<id>`) of keys that are no longer valid.
    pub revoked: Vec<String>,
    /// Names to sign under; empty: the server's name alone.
    sign_as: Vec<String>,
}

/// The names and the URL of this server, with all defaults applied.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name in signatures of associations.
    pub name: String,
    /// The public base URL without a trailing slash.
    pub base_url: String,
    /// The names that homeservers may sign requests for.
    pub destinations: Destinations,
}

impl RawServer {
    pub(super) fn complete(self, base: &Path) -> Result<Server, ConfigError> {
        let Self { name, public_base_url, aliases, allow_http_base_url, operator, help_url, privacy_url, data_dir } =
            self;
        let operator = Operator { name: operator, help_url, privacy_url };
        operator.check(allow_http_base_url)?;
        let data_dir = match data_dir {
            Some(path) => base.join(path),
            None => shared::config::data_dir("matrix-identity").ok_or_else(|| {
                let problem = "not set, and the environment names no home folder; set it";
                ConfigError::invalid("server.data_dir", problem)
            })?,
        };
        let aliases = aliases.as_slice().to_vec();
        let server = Server { name, public_base_url, aliases, allow_http_base_url, operator, data_dir };
        server.check()?;
        Ok(server)
    }
}

impl Server {
    /// The server's identity. `listening` is the first address that it listens on.
    pub fn identity(&self, listening: Option<SocketAddr>) -> Identity {
        let base_url = match (&self.public_base_url, listening) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(address)) => format!("http://{address}"),
            (None, None) => "http://127.0.0.1:8090".to_owned(),
        };
        let authority = authority(&base_url).unwrap_or_else(|| "localhost".to_owned());
        let path = Url::parse(&base_url).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        let name = self.name.clone().unwrap_or_else(|| authority.clone());
        let with_path = format!("{authority}{path}");
        let names = [name.clone(), authority, with_path].into_iter().chain(self.aliases.clone());
        Identity { destinations: Destinations::new(names, &path), name, base_url }
    }

    /// `public_base_url`, if it is set.
    pub fn public_url(&self) -> Option<Url> {
        Url::parse(self.public_base_url.as_ref()?).ok()
    }

    /// The host of `public_base_url`, an IPv6 address in brackets.
    pub(super) fn public_host(&self) -> Option<String> {
        Url::parse(self.public_base_url.as_ref()?).ok()?.host_str().map(str::to_owned)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(name) = &self.name {
            check_name("server.name", name)?;
        }
        for alias in &self.aliases {
            let (host, path) = alias.split_at(alias.find('/').unwrap_or(alias.len()));
            check_name("server.aliases", host)?;
            if path.ends_with('/') || !path.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\?#".contains(&b)) {
                let expected = "expected a name such as \"id.example.org\" or \"example.org/identity\"";
                return Err(ConfigError::invalid("server.aliases", format!("{expected}, found \"{alias}\"")));
            }
        }
        let Some(text) = &self.public_base_url else { return Ok(()) };
        let invalid = |problem: &str| Err(ConfigError::invalid("server.public_base_url", problem));
        let Ok(url) = Url::parse(text) else { return invalid("expected a URL such as \"https://id.example.org\"") };
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http_base_url => {}
            "http" => return invalid("expected https; or set [server] allow_http_base_url = true"),
            _ => return invalid("expected https"),
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return invalid("expected a URL without user, query and fragment");
        }
        if url.host_str().is_none_or(|host| host.contains('*')) {
            return invalid("expected the name of one host, without *");
        }
        Ok(())
    }

    /// A path that is added to the URL anyway. `base_path` is that of `[http]`.
    pub(super) fn path_notice(&self, base_path: &str) -> Option<String> {
        let url = self.public_base_url.as_deref()?;
        let path = Url::parse(url).ok()?.path().trim_end_matches('/').to_owned();
        (path.contains("/_matrix") && path != base_path).then(|| {
            format!(
                "[server] public_base_url has the path {path}, and the links of this server add /_matrix/identity to it; \
                 remove the path unless your reverse proxy removes it"
            )
        })
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        match &self.public_base_url {
            None => notices.push(
                "development only: [server] public_base_url is not set, so links in mails work on this machine alone"
                    .to_owned(),
            ),
            Some(url) if url.starts_with("http:") => {
                notices.push("development only: [server] public_base_url is http".to_owned());
            }
            Some(url) => {
                let authority = authority(url);
                if let (Some(name), Some(authority)) = (&self.name, authority)
                    && *name != authority
                {
                    notices.push(format!(
                        "[server] name is {name}, but the authority of public_base_url is {authority}: homeservers that \
                         verify associations may look for keys at the wrong host"
                    ));
                }
            }
        }
        notices
    }
}

impl RawKeys {
    pub(super) fn complete(self, base: &Path, data_dir: &Path) -> Result<Keys, ConfigError> {
        if let Some(id) = self.revoked.as_slice().iter().find(|id| !id.starts_with("ed25519:")) {
            return Err(ConfigError::invalid("keys.revoked", format!("expected \"ed25519:<id>\", found \"{id}\"")));
        }
        self.sign_as.as_slice().iter().try_for_each(|name| check_name("keys.sign_as", name))?;
        Ok(Keys {
            file: self.file.map_or_else(|| data_dir.join("signing.key"), |file| base.join(file)),
            revoked: self.revoked.as_slice().to_vec(),
            sign_as: self.sign_as.as_slice().to_vec(),
        })
    }
}

impl Keys {
    /// The names to sign under.
    pub fn sign_as(&self, identity: &Identity) -> Vec<String> {
        if self.sign_as.is_empty() { vec![identity.name.clone()] } else { self.sign_as.clone() }
    }
}

fn check_name(key: &str, name: &str) -> Result<(), ConfigError> {
    let invalid =
        |_| ConfigError::invalid(key, format!("expected a name such as \"id.example.org\", found \"{name}\""));
    ServerName::parse(name).map(drop).map_err(invalid)
}

/// Host and, unless it is the scheme's default, port.
fn authority(base_url: &str) -> Option<String> {
    let url = Url::parse(base_url).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Destinations, RawKeys, RawServer, Server};

    fn raw(url: &str) -> RawServer {
        RawServer { public_base_url: Some(url.to_owned()), ..unset() }
    }

    fn unset() -> RawServer {
        RawServer { data_dir: Some("data".into()), ..RawServer::default() }
    }

    fn complete(raw: RawServer) -> Result<Server, String> {
        raw.complete(Path::new("/etc")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_name_defaults_to_the_base_url_and_the_base_url_to_the_listener() {
        let identity = complete(raw("https://id.example.org/")).unwrap().identity(None);
        assert_eq!((identity.name.as_str(), identity.base_url.as_str()), ("id.example.org", "https://id.example.org"));
        let identity = complete(unset()).unwrap().identity(Some("127.0.0.1:4711".parse().unwrap()));
        assert_eq!((identity.name.as_str(), identity.base_url.as_str()), ("127.0.0.1:4711", "http://127.0.0.1:4711"));
    }

    #[test]
    fn paths_start_at_the_folder_of_the_configuration_or_in_the_data_folder() {
        assert_eq!(complete(unset()).unwrap().data_dir, Path::new("/etc/data"));
        let file = |file: Option<&str>| {
            let raw = RawKeys { file: file.map(Into::into), ..RawKeys::default() };
            raw.complete(Path::new("/etc"), Path::new("/data")).unwrap().file
        };
        assert_eq!(file(None), Path::new("/data/signing.key"));
        assert_eq!(file(Some("a.key")), Path::new("/etc/a.key"));
    }

    #[test]
    fn a_base_url_without_https_is_rejected_unless_http_is_allowed() {
        assert!(complete(raw("https://id.example.org")).is_ok());
        for url in
            ["http://id.example.org", "ftp://x", "id.example.org", "https://u@h", "https://h/?q", "https://*.h", ""]
        {
            let error = complete(raw(url)).unwrap_err();
            assert!(error.starts_with("[server] public_base_url: expected"), "{url}: {error}");
        }
        assert!(complete(RawServer { allow_http_base_url: true, ..raw("http://127.0.0.1:8090") }).is_ok());
    }

    #[test]
    fn a_name_is_a_server_name() {
        let named = |name: &str| complete(RawServer { name: Some(name.to_owned()), ..unset() });
        assert!(named("id.example.org").is_ok() && named("127.0.0.1:8090").is_ok());
        for name in ["", "https://id.example.org", "id.example.org/", "id example"] {
            assert!(named(name).unwrap_err().starts_with("[server] name: "), "{name}");
        }
        let keys = |revoked: &[&str], sign_as: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>().into();
            let raw = RawKeys { file: None, revoked: list(revoked), sign_as: list(sign_as) };
            raw.complete(Path::new(""), Path::new("")).map_err(|error| error.to_string())
        };
        assert!(keys(&["ed25519:0"], &["id.example.org"]).is_ok());
        assert!(keys(&[], &["id.example.org", "a b"]).unwrap_err().starts_with("[keys] sign_as: "));
        assert!(keys(&["0"], &[]).unwrap_err().starts_with("[keys] revoked: "));
    }

    #[test]
    fn homeservers_may_sign_for_the_name_the_authority_the_authority_with_path_and_every_alias() {
        let destinations =
            |raw: RawServer| complete(raw).unwrap().identity(Some("127.0.0.1:4711".parse().unwrap())).destinations;
        let expected = |names: &[&str], path| Destinations::new(names.iter().map(|&name| name.to_owned()), path);
        assert_eq!(destinations(unset()), expected(&["127.0.0.1:4711"], ""));
        assert_eq!(destinations(raw("https://Id.Example.org/")), expected(&["id.example.org"], ""));
        let aliases = vec!["id.other".to_owned(), "other:8090/id".to_owned()].into();
        let full = RawServer { name: Some("example.org".into()), aliases, ..raw("https://id.example.org:8448/a/b/") };
        assert_eq!(
            destinations(full),
            expected(
                &["example.org", "id.example.org:8448", "id.example.org:8448/a/b", "id.other", "other:8090/id"],
                "/a/b"
            )
        );
        for alias in ["", "https://id.example.org", "/identity", "id.example.org/", "id.example.org/a b", "a b"] {
            let error = complete(RawServer { aliases: vec![alias.to_owned()].into(), ..unset() }).unwrap_err();
            assert!(error.starts_with("[server] aliases: "), "{alias}: {error}");
        }
    }

    #[test]
    fn a_name_that_differs_from_the_authority_gives_a_notice() {
        let named =
            |name: &str| complete(RawServer { name: Some(name.to_owned()), ..raw("https://id.example.org") }).unwrap();
        assert!(named("id.example.org").notices().is_empty());
        let path =
            |path: &str, base| complete(raw(&format!("https://id.example.org{path}"))).unwrap().path_notice(base);
        assert!(path("/_matrix/identity", "").is_some_and(|notice| notice.contains("/_matrix/identity")));
        assert_eq!(
            [path("/_matrix/identity/", "/_matrix/identity"), path("/id", ""), path("", "")],
            [None, None, None]
        );
        assert_eq!(named("example.org").notices().len(), 1);
    }
}
