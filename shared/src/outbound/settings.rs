//! `[outbound]`: how the services open connections. Both services have the same keys.
//!
//! Invariant: no key turns certificate verification off.

use std::path::{Path, PathBuf};

use rustls::ClientConfig;
use serde::Deserialize;

use super::guard::{AddressGuard, Nat64Prefix};
use super::no_proxy::{self, Exemption};
use super::proxy::{InvalidProxy, Proxy, ProxyRule};
use super::tls::{self, TlsError};
use crate::config::{Cidr, ConfigError, Globs, OneOrMany, digest_of_files, secret};
use crate::secret::Secret;
use crate::text_file::unquoted;

/// The section `[outbound]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbound {
    /// A PEM file with certificates that are trusted besides the system's roots: for every TLS connection of both
    /// services, to homeservers, push services, SMS providers, the mail relay and PostgreSQL.
    pub extra_ca_file: Option<PathBuf>,
    /// `http://[user:password@]host:port` of a proxy that supports CONNECT, for connections to homeservers and push
    /// services. SMS providers have `[sms] proxy`; mail and PostgreSQL use no proxy. identity resolves and checks
    /// homeservers' addresses before it requests them from the proxy; push services are requested by name. Empty: no
    /// proxy, whatever `HTTPS_PROXY` in the environment is.
    #[serde(rename = "proxy")]
    pub written_proxy: Option<Secret<String>>,
    /// The proxy in use, after [`Outbound::read_proxy`].
    #[serde(skip)]
    pub proxy: Option<Proxy>,
    /// Where that proxy is configured, for the operator.
    #[serde(skip)]
    pub proxy_source: &'static str,
    /// A file that contains the URL of the proxy, which is a secret if it contains a password.
    pub proxy_file: Option<PathBuf>,
    /// Hosts that are connected to without the proxy: names in which `*` matches any sequence of characters, addresses,
    /// networks such as `10.0.0.0/8`; `host:port` for one port.
    pub no_proxy: Globs,
    /// Networks that are permitted although the address guard rejects them, on any port. The guard applies to hosts
    /// that users choose: homeservers. Hosts from the configuration need no permission.
    pub allow_cidrs: OneOrMany<Cidr>,
    /// Networks that are rejected besides those of the address guard.
    pub deny_cidrs: OneOrMany<Cidr>,
    /// Prefixes of this network's NAT64 translators, besides 64:ff9b::/96. An address below one is judged by the IPv4
    /// address in it.
    pub nat64_prefixes: OneOrMany<Nat64Prefix>,
}

impl Outbound {
    /// Makes paths relative to `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.extra_ca_file, &mut self.proxy_file].into_iter().flatten() {
            *path = folder.join(&path);
        }
    }

    /// Finds the proxy after loading: in `proxy` or its file, else in the environment.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, if the text is no URL of a proxy, or if both keys are set.
    pub fn read_proxy(&mut self) -> Result<(), ConfigError> {
        if let Some(entry) = self.no_proxy.patterns().iter().find(|entry| Exemption::parse(entry).is_none()) {
            let problem =
                format!("expected hosts, addresses or networks, each with a port or without, found \"{entry}\"");
            return Err(ConfigError::invalid("outbound.no_proxy", problem));
        }
        let Some(url) = secret("outbound.proxy", self.written_proxy.as_ref(), self.proxy_file.as_deref())? else {
            return self.read_proxy_variables();
        };
        let url = unquoted(url.expose());
        if url.is_empty() {
            return Ok(());
        }
        let (source, key) = match &self.proxy_file {
            Some(_) => ("[outbound] proxy_file", "outbound.proxy_file"),
            None => ("[outbound] proxy", "outbound.proxy"),
        };
        let file = self.proxy_file.as_ref().map(|file| format!("{} contains no proxy; ", file.display()));
        let invalid = |error: InvalidProxy| ConfigError::invalid(key, format!("{}{error}", file.unwrap_or_default()));
        self.proxy = Some(url.parse::<Proxy>().map_err(invalid)?);
        self.proxy_source = source;
        Ok(())
    }

    /// Without a proxy in the configuration, the variables that most programs know apply.
    #[expect(clippy::disallowed_methods, reason = "the names are a convention of many programs")]
    fn read_proxy_variables(&mut self) -> Result<(), ConfigError> {
        self.take_proxy_of(|name| std::env::var(name).ok())
    }

    fn take_proxy_of(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        let set =
            |name: &&'static str| variable(name).filter(|value| !value.trim().is_empty()).map(|value| (*name, value));
        let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let Some((name, url)) = names.iter().find_map(set) else { return Ok(()) };
        let invalid = |error: InvalidProxy| {
            let action = "correct it, or set [outbound] proxy = \"\" to connect without a proxy";
            ConfigError::Invalid(format!("environment variable {name}: {error}; {action}"))
        };
        self.proxy = Some(unquoted(&url).parse::<Proxy>().map_err(invalid)?);
        self.proxy_source = name;
        if let Some((_, hosts)) = ["NO_PROXY", "no_proxy"].iter().find_map(set) {
            let hosts = no_proxy::of_variable(unquoted(&hosts));
            self.no_proxy.extend(hosts.into_iter().filter(|entry| Exemption::parse(entry).is_some()));
        }
        Ok(())
    }

    /// Checks the file of certificates.
    ///
    /// # Errors
    /// [`ConfigError`] if the file is unusable.
    pub fn check_extra_ca(&self) -> Result<(), ConfigError> {
        match self.extra_ca_file {
            Some(_) => self.tls().map(drop).map_err(|error| ConfigError::Invalid(error.to_string())),
            None => Ok(()),
        }
    }

    /// What an operator should know of the section.
    pub fn notices(&self) -> Vec<String> {
        let wide = self.allow_cidrs.as_slice().iter().filter(|network| network.is_most_of_the_internet());
        let notice = |network: &Cidr| {
            format!(
                "INSECURE: [outbound] allow_cidrs: {network:?} permits private addresses too, so users can make this server \
                 connect to your own network; list only the networks that are needed"
            )
        };
        wide.map(notice).collect()
    }

    /// The proxy in use and where it is configured, for the operator.
    pub fn describe_proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(|proxy| format!("proxy: {proxy} (from {})", self.proxy_source))
    }

    /// The files that the section names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.extra_ca_file, &self.proxy_file].into_iter().flatten().map(PathBuf::as_path)
    }

    /// A digest of the files' contents; it differs if they changed. A missing file counts as an empty one.
    pub fn digest_of_files(&self) -> [u8; 32] {
        digest_of_files(self.files())
    }

    /// The TLS settings for hosts from the configuration.
    ///
    /// # Errors
    /// [`TlsError`] if `extra_ca_file` is unusable or the system has no trusted roots.
    pub fn tls(&self) -> Result<ClientConfig, TlsError> {
        tls::client_config(self.extra_ca_file.as_deref(), true)
    }

    /// The proxy and the hosts that are exempt from it.
    pub fn proxy_rule(&self) -> ProxyRule {
        ProxyRule::new(self.proxy.clone(), &self.no_proxy)
    }

    /// The guard for addresses of hosts that users choose.
    pub fn address_guard(&self) -> AddressGuard {
        let guard = AddressGuard::new(self.allow_cidrs.as_slice(), self.deny_cidrs.as_slice());
        guard.with_nat64(self.nat64_prefixes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::Outbound;
    use crate::config::ConfigError;

    #[derive(Deserialize)]
    struct Config {
        outbound: Outbound,
    }

    fn load(folder: &Path, keys: &str) -> Result<Outbound, String> {
        let file = folder.join("config.toml");
        std::fs::write(&file, format!("[outbound]\n{keys}")).unwrap();
        let config = crate::config::load::<Config>(Some(&file), "SHARED_OUTBOUND_TEST");
        let mut outbound = config.map_err(|error| error.to_string())?.outbound;
        outbound.resolve(folder);
        outbound.read_proxy().map_err(|error| error.to_string())?;
        Ok(outbound)
    }

    #[test]
    fn paths_are_resolved_and_the_proxy_comes_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("proxy-url"), "http://user:hunter2@proxy.example:3128\n").unwrap();
        let outbound = load(
            folder.path(),
            "proxy_file = 'proxy-url'\nextra_ca_file = 'ca.pem'\nallow_cidrs = ['127.0.0.0/8', '10.0.0.5']\n\
             deny_cidrs = '8.8.8.0/24, fd00::/8'\nno_proxy = '*.internal'",
        )
        .unwrap();
        assert_eq!(format!("{:?}", outbound.proxy), "Some(Proxy(proxy.example:3128))");
        assert_eq!((outbound.allow_cidrs.as_slice().len(), outbound.deny_cidrs.as_slice().len()), (2, 2));
        let files: Vec<_> = outbound.files().map(Path::to_path_buf).collect();
        assert_eq!(files, ["ca.pem", "proxy-url"].map(|name| folder.path().join(name)));
        assert!(!format!("{outbound:?}").contains("hunter2"));
        let direct = load(folder.path(), "proxy = 'http://user:hunter2@proxy.example:3128'").unwrap();
        assert_eq!(direct.proxy, outbound.proxy);
        assert_ne!(direct, outbound);
        assert_eq!(outbound.describe_proxy().unwrap(), "proxy: proxy.example:3128 (from [outbound] proxy_file)");
        assert_eq!(direct.describe_proxy().unwrap(), "proxy: proxy.example:3128 (from [outbound] proxy)");
        std::fs::write(folder.path().join("proxy-url"), "\u{feff}\"http://proxy.example:3128\"\r\n").unwrap();
        let quoted = load(folder.path(), "proxy_file = 'proxy-url'").unwrap();
        assert_eq!(format!("{:?}", quoted.proxy), "Some(Proxy(proxy.example:3128))");
    }

    #[test]
    fn invalid_proxies_are_rejected_without_showing_a_password() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("proxy-url"), "user:hunter2@proxy.example").unwrap();
        for (toml, expected) in [
            (
                "proxy = 'socks5://user:hunter2@a.example:1'",
                "[outbound] proxy: SOCKS proxies are not supported; expected",
            ),
            ("no_proxy = ['a:b']", "[outbound] no_proxy: expected hosts"),
            ("proxy = 'user:hunter2@a.example'", "[outbound] proxy: expected \"http://"),
            ("proxy_file = 'proxy-url'", "[outbound] proxy_file: "),
            ("proxy_file = 'nowhere'", "cannot read"),
            ("allow_cidr = []", "allow_cidr"),
            ("allow_cidrs = ['hs.example']", "allow_cidrs"),
        ] {
            let error = load(folder.path(), toml).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{toml}: {error}");
        }
        let mut both: Outbound = load(folder.path(), "proxy = 'http://a.example:1'").unwrap();
        both.proxy_file = Some("proxy-url".into());
        assert!(matches!(both.read_proxy(), Err(ConfigError::GivenTwice(key)) if key == "outbound.proxy"));
    }

    #[test]
    fn the_environment_applies_unless_the_configuration_names_a_proxy_or_none() {
        let of = |variables: &[(&str, &str)]| {
            let mut outbound = Outbound::default();
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
            outbound.take_proxy_of(value).map_err(|error| error.to_string())?;
            Ok::<_, String>((outbound.describe_proxy(), outbound.proxy_rule()))
        };
        let target = |host: &str| url::Host::parse(host).unwrap();
        let variables =
            [("HTTPS_PROXY", "user:hunter2@proxy.example:3128"), ("NO_PROXY", "10.0.0.0/8,hs.example:8448, a.b.")];
        let (described, rule) = of(&variables).unwrap();
        assert_eq!(described.unwrap(), "proxy: proxy.example:3128 (from HTTPS_PROXY)");
        for (host, port, is_proxied) in [
            ("10.1.2.3", 443, false),
            ("hs.example", 8448, false),
            ("hs.example", 443, true),
            ("x.a.b", 443, false),
            ("matrix.org", 443, true),
        ] {
            assert_eq!(rule.find(&target(host), port).is_some(), is_proxied, "{host}:{port}");
        }
        let (described, _) = of(&[("HTTPS_PROXY", " "), ("all_proxy", "http://other.example:1")]).unwrap();
        assert_eq!(described.unwrap(), "proxy: other.example:1 (from all_proxy)");
        let error = of(&[("ALL_PROXY", "socks5h://user:hunter2@a.example:1080")]).unwrap_err();
        assert!(error.starts_with("environment variable ALL_PROXY: SOCKS proxies are not supported"), "{error}");
        assert!(error.contains("[outbound] proxy = \"\"") && !error.contains("hunter2"), "{error}");

        let folder = tempfile::tempdir().unwrap();
        let none = load(folder.path(), "proxy = ''").unwrap();
        assert!(none.proxy.is_none() && none.written_proxy.is_some());
    }
}
