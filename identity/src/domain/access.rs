//! Which homeservers may use this server.
//!
//! Invariant: a denied homeserver stays denied on every port and in every letter case.

use shared::config::Globs;

/// The operator's lists of homeservers (`allow_servers`, `deny_servers`).
#[derive(Clone, Debug, Default)]
pub struct HomeserverAccess {
    allow: Globs,
    deny: Globs,
}

impl HomeserverAccess {
    /// Rules from the two lists. An empty `allow` allows all homeservers; `deny` overrides `allow`.
    pub fn new(allow: Globs, deny: Globs) -> Self {
        Self { allow, deny }
    }

    /// Whether the homeserver `server_name` may use this server.
    ///
    /// A pattern of `deny` matches the host on every port. A pattern of `allow` matches the whole name with its port, because
    /// another port of the same host is another homeserver.
    pub fn permits(&self, server_name: &str) -> bool {
        !self.denies(server_name) && (self.allow.is_empty() || self.allow.matches(server_name))
    }

    /// Whether `deny` names the homeserver.
    pub fn denies(&self, server_name: &str) -> bool {
        denies(&self.deny, server_name)
    }
}

/// Whether a pattern of `deny` matches the homeserver, with its port or on every port.
pub fn denies(deny: &Globs, server_name: &str) -> bool {
    deny.matches(server_name) || deny.matches(host(server_name))
}

/// The server name without its port. The colons of an IPv6 address are in brackets.
fn host(server_name: &str) -> &str {
    match server_name.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => server_name,
    }
}

#[cfg(test)]
mod tests {
    use super::HomeserverAccess;
    use shared::config::Globs;

    fn access<const A: usize, const D: usize>(allow: [&str; A], deny: [&str; D]) -> HomeserverAccess {
        HomeserverAccess::new(Globs::from(allow), Globs::from(deny))
    }

    #[test]
    fn empty_lists_allow_every_homeserver() {
        assert!(HomeserverAccess::default().permits("hs.example"));
    }

    #[test]
    fn a_list_of_allowed_servers_denies_all_others() {
        let access = access(["hs.example", "*.good.example"], []);
        for name in ["hs.example", "HS.Example", "a.good.example"] {
            assert!(access.permits(name), "{name}");
        }
        for name in ["other.example", "good.example", "hs.example:8449", "hs.example.evil.org", ""] {
            assert!(!access.permits(name), "{name}");
        }
    }

    #[test]
    fn deny_overrides_allow_on_every_port() {
        let access = access(["*"], ["*.evil.example", "evil.example", "[::1]"]);
        for name in [
            "evil.example",
            "EVIL.example",
            "a.evil.example",
            "evil.example:8448",
            "a.evil.example:1",
            "[::1]",
            "[::1]:8448",
        ] {
            assert!(!access.permits(name), "{name}");
        }
        for name in ["good.example", "notevil.example:8448", "[::11]:1", "[::2]"] {
            assert!(access.permits(name), "{name}");
        }
    }
}
