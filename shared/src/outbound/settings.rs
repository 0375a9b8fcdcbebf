//! `[outbound]`: how the services open connections. Both services have the same keys.
//!
//! Invariant: no key turns certificate verification off.

use std::path::{Path, PathBuf};

use rustls::ClientConfig;
use serde::Deserialize;

use super::guard::{AddressGuard, Nat64Prefix};
use super::proxy::{Proxy, ProxyRule};
use super::tls::{self, TlsError};
use crate::config::{Cidr, ConfigError, Globs, OneOrMany, digest_of_files, secret};

/// The section `[outbound]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbound {
    /// A PEM file with certificates that are trusted besides the system's roots: for every TLS connection of both
    /// services, to homeservers, push services, SMS providers, the mail relay and PostgreSQL.
    pub extra_ca_file: Option<PathBuf>,
    /// `http://[user:password@]host:port` of a proxy that supports CONNECT, for connections to homeservers and push
    /// services. SMS providers have `[sms] proxy`; mail and PostgreSQL use no proxy. identity resolves and checks
    /// homeservers' addresses before it requests them from the proxy; push services are requested by name.
    pub proxy: Option<Proxy>,
    /// A file that contains the URL of the proxy, which is a secret if it contains a password.
    pub proxy_file: Option<PathBuf>,
    /// Hosts that are connected to without the proxy; `*` matches any sequence of characters.
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

    /// Reads the proxy's file after loading.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, contains no URL of a proxy, or if both keys are set.
    pub fn read_proxy_file(&mut self) -> Result<(), ConfigError> {
        let Some(file) = &self.proxy_file else { return self.read_proxy_variables() };
        if self.proxy.is_some() {
            return Err(ConfigError::GivenTwice("outbound.proxy".to_owned()));
        }
        let Some(url) = secret("outbound.proxy", None, Some(file))? else { return Ok(()) };
        let proxy = url.expose().parse().map_err(|error| {
            ConfigError::invalid("outbound.proxy_file", format!("{} contains no proxy; {error}", file.display()))
        })?;
        self.proxy = Some(proxy);
        Ok(())
    }

    /// Without a proxy in the configuration, the variables that most programs know apply.
    #[expect(clippy::disallowed_methods, reason = "the names are a convention of many programs")]
    fn read_proxy_variables(&mut self) -> Result<(), ConfigError> {
        if self.proxy.is_some() {
            return Ok(());
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, variable(name)?)));
        let Some((name, url)) = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) else { return Ok(()) };
        let proxy = url.trim().parse();
        self.proxy =
            Some(proxy.map_err(|error| ConfigError::Invalid(format!("environment variable {name}: {error}")))?);
        if let Some((_, hosts)) = first(&["NO_PROXY", "no_proxy"]) {
            self.no_proxy.extend(no_proxy_patterns(&hosts));
        }
        Ok(())
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
        ProxyRule::new(self.proxy.clone(), self.no_proxy.clone())
    }

    /// The guard for addresses of hosts that users choose.
    pub fn address_guard(&self) -> AddressGuard {
        let guard = AddressGuard::new(self.allow_cidrs.as_slice(), self.deny_cidrs.as_slice());
        guard.with_nat64(self.nat64_prefixes.as_slice())
    }
}

/// The patterns of `NO_PROXY`: a host stands for its subdomains too, and may begin with a dot.
fn no_proxy_patterns(hosts: &str) -> Vec<String> {
    let hosts = hosts.split(',').map(|host| host.trim().trim_start_matches('.')).filter(|host| !host.is_empty());
    hosts
        .flat_map(|host| match host {
            "*" => vec!["*".to_owned()],
            host => vec![host.to_owned(), format!("*.{host}")],
        })
        .collect()
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
        outbound.read_proxy_file().map_err(|error| error.to_string())?;
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
    }

    #[test]
    fn invalid_proxies_are_rejected_without_showing_a_password() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("proxy-url"), "user:hunter2@proxy.example").unwrap();
        for (toml, expected) in [
            ("proxy = 'socks5://user:hunter2@a.example:1'", "[outbound] proxy: expected \"http://"),
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
        assert!(matches!(both.read_proxy_file(), Err(ConfigError::GivenTwice(key)) if key == "outbound.proxy"));
    }
}
