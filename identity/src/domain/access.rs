//! Which homeservers the operator lets in.
//!
//! Invariant: what is denied stays denied on every port and in whatever case it is written.

use shared::config::Globs;

/// The operator's lists of homeservers (`allow_servers`, `deny_servers`).
#[derive(Clone, Debug, Default)]
pub struct HomeserverAccess {
    allow: Globs,
    deny: Globs,
}

impl HomeserverAccess {
    /// From the two lists; an empty `allow` allows everyone, `deny` wins.
    pub fn new(allow: Globs, deny: Globs) -> Self {
        Self { allow, deny }
    }

    /// Whether the homeserver `server_name` may use us.
    ///
    /// A pattern of `deny` holds for the host on every port. One of `allow` is compared with the whole name, port
    /// included, because another port of the same host is another homeserver.
    pub fn permits(&self, server_name: &str) -> bool {
        let denied = self.deny.matches(server_name) || self.deny.matches(host(server_name));
        !denied && (self.allow.is_empty() || self.allow.matches(server_name))
    }
}

/// The server name less its port. The colons of an IPv6 address are in brackets.
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
    fn without_lists_everyone_may() {
        assert!(HomeserverAccess::default().permits("hs.example"));
    }

    #[test]
    fn a_list_of_allowed_servers_shuts_out_all_others() {
        let access = access(["hs.example", "*.good.example"], []);
        for name in ["hs.example", "HS.Example", "a.good.example"] {
            assert!(access.permits(name), "{name}");
        }
        for name in ["other.example", "good.example", "hs.example:8449", "hs.example.evil.org", ""] {
            assert!(!access.permits(name), "{name}");
        }
    }

    #[test]
    fn denied_wins_over_allowed_on_every_port() {
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
