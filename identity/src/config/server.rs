//! `[server]` and `[keys]`: who this server is.
//!
//! Invariant: the public base URL is https unless the operator says that http will do.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use shared::config::{ConfigError, OneOrMany};
use url::Url;

use crate::domain::server_name::ServerName;
use crate::domain::x_matrix::Destinations;

/// The settings under `[server]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The name under which associations are signed. Unset: the host (and port) of `public_base_url`.
    pub name: Option<String>,
    /// The URL under which clients and browsers reach this server, without a trailing slash. Unset, for development:
    /// `http://` and the first address of `[http] bind`.
    pub public_base_url: Option<String>,
    /// Further names under which homeservers may mean this server when they sign: a host, perhaps with a port, perhaps
    /// with a path. Besides `name`, the authority of `public_base_url`, and that with its path.
    pub aliases: OneOrMany<String>,
    /// Whether `public_base_url` may be http.
    pub allow_http_base_url: bool,
    /// Where the database, the signing key and development mail are, unless their own keys say something else.
    /// Unset: systemd's `STATE_DIRECTORY`, else `matrix-identity` in the user's data folder (XDG).
    pub data_dir: Option<PathBuf>,
}

/// The settings under `[keys]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Lines `ed25519 <id> <unpadded base64 seed>`; the first signs, the others are retired. Made if it is absent.
    /// Unset: `signing.key` in the data folder.
    pub file: Option<PathBuf>,
    /// Key ids (`ed25519:<id>`) that are valid no more.
    pub revoked: OneOrMany<String>,
    /// Names to sign under; unset: `[server] name` alone.
    pub sign_as: OneOrMany<String>,
}

/// Who this server is, with everything filled in.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name under which associations are signed.
    pub name: String,
    /// The public base URL without a trailing slash.
    pub base_url: String,
    /// What a homeserver may call this server.
    pub destinations: Destinations,
}

impl Server {
    /// Name and base URL, with the address really listened on where they are not set.
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
        let names = [name.clone(), authority, with_path].into_iter().chain(self.aliases.as_slice().to_vec());
        Identity { destinations: Destinations::new(names, &path), name, base_url }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(name) = &self.name {
            check_name("server.name", name)?;
        }
        for alias in self.aliases.as_slice() {
            let (host, path) = alias.split_at(alias.find('/').unwrap_or(alias.len()));
            check_name("server.aliases", host)?;
            if path.ends_with('/') || !path.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\?#".contains(&b)) {
                let expected = "expected a name such as \"id.example.org\" or \"example.org/identity\"";
                return Err(ConfigError::invalid("server.aliases", format!("{expected}, found \"{alias}\"")));
            }
        }
        let Some(text) = &self.public_base_url else { return Ok(()) };
        let wrong = |why: &str| Err(ConfigError::invalid("server.public_base_url", why));
        let Ok(url) = Url::parse(text) else { return wrong("expected a URL such as \"https://id.example.org\"") };
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http_base_url => {}
            "http" => return wrong("expected https; or set [server] allow_http_base_url = true"),
            _ => return wrong("expected https"),
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return wrong("expected neither user, query nor fragment");
        }
        Ok(())
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        match &self.public_base_url {
            None => notices.push(
                "development only: [server] public_base_url is not set, so links lead to this machine".to_owned(),
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
                        "[server] name is {name} but the authority of public_base_url is {authority}: homeservers that verify associations may look for keys at the wrong place"
                    ));
                }
            }
        }
        notices
    }
}

impl Keys {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(wrong) = self.revoked.as_slice().iter().find(|id| !id.starts_with("ed25519:")) {
            return Err(ConfigError::invalid("keys.revoked", format!("expected \"ed25519:<id>\", found \"{wrong}\"")));
        }
        self.sign_as.as_slice().iter().try_for_each(|name| check_name("keys.sign_as", name))
    }
}

fn check_name(key: &str, name: &str) -> Result<(), ConfigError> {
    let wrong = |_| ConfigError::invalid(key, format!("expected a name such as \"id.example.org\", found \"{name}\""));
    ServerName::parse(name).map(drop).map_err(wrong)
}

/// Host and, if it is not the scheme's own, port.
fn authority(base_url: &str) -> Option<String> {
    let url = Url::parse(base_url).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::{Destinations, Keys, Server};

    fn server(url: &str) -> Server {
        Server { public_base_url: Some(url.to_owned()), ..Server::default() }
    }

    #[test]
    fn the_name_follows_from_the_base_url_and_the_base_url_from_the_listener() {
        let identity = server("https://id.example.org/").identity(None);
        assert_eq!((identity.name.as_str(), identity.base_url.as_str()), ("id.example.org", "https://id.example.org"));
        let identity = Server::default().identity(Some("127.0.0.1:4711".parse().unwrap()));
        assert_eq!((identity.name.as_str(), identity.base_url.as_str()), ("127.0.0.1:4711", "http://127.0.0.1:4711"));
    }

    #[test]
    fn a_base_url_without_https_is_refused_unless_it_is_allowed() {
        assert!(server("https://id.example.org").check().is_ok());
        for url in ["http://id.example.org", "ftp://x", "id.example.org", "https://u@h", "https://h/?q", ""] {
            assert!(server(url).check().is_err(), "{url}");
        }
        assert!(Server { allow_http_base_url: true, ..server("http://127.0.0.1:8090") }.check().is_ok());
    }

    #[test]
    fn a_name_is_a_server_name() {
        let named = |name: &str| Server { name: Some(name.to_owned()), ..Server::default() }.check();
        assert!(named("id.example.org").is_ok() && named("127.0.0.1:8090").is_ok());
        for name in ["", "https://id.example.org", "id.example.org/", "id example"] {
            assert!(named(name).is_err(), "{name}");
        }
        let keys = Keys { sign_as: vec!["id.example.org".to_owned(), "a b".to_owned()].into(), ..Keys::default() };
        assert!(keys.check().unwrap_err().to_string().starts_with("[keys] sign_as: "));
    }

    #[test]
    fn homeservers_may_call_us_by_name_by_authority_with_the_path_and_by_every_alias() {
        let ours = |server: Server| server.identity(Some("127.0.0.1:4711".parse().unwrap())).destinations;
        let same = |names: &[&str], path| Destinations::new(names.iter().map(|&name| name.to_owned()), path);
        assert_eq!(ours(Server::default()), same(&["127.0.0.1:4711"], ""));
        assert_eq!(ours(server("https://Id.Example.org/")), same(&["id.example.org"], ""));
        let aliases = vec!["id.other".to_owned(), "other:8090/id".to_owned()].into();
        let full = Server { name: Some("example.org".into()), aliases, ..server("https://id.example.org:8448/a/b/") };
        assert!(full.check().is_ok());
        assert_eq!(
            ours(full),
            same(
                &["example.org", "id.example.org:8448", "id.example.org:8448/a/b", "id.other", "other:8090/id"],
                "/a/b"
            )
        );
        for alias in ["", "https://id.example.org", "/identity", "id.example.org/", "id.example.org/a b", "a b"] {
            let error = Server { aliases: vec![alias.to_owned()].into(), ..Server::default() }.check().unwrap_err();
            assert!(error.to_string().starts_with("[server] aliases: "), "{alias}: {error}");
        }
    }

    #[test]
    fn a_name_that_is_not_the_authority_is_noticed() {
        let named = |name: &str| Server { name: Some(name.to_owned()), ..server("https://id.example.org") };
        assert!(named("id.example.org").notices().is_empty());
        assert_eq!(named("example.org").notices().len(), 1);
    }
}
