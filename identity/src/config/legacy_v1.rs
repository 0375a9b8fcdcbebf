//! `[legacy_v1]`: how much of the removed v1 API is served, and to whom.
//!
//! Invariant: routes beyond links and keys need an explicit profile, and a list of allowed addresses without effect is an
//! error or gives a notice.

use std::net::IpAddr;

use serde::Deserialize;
use shared::config::{Cidr, ConfigError, OneOrMany};

use super::federation::Registration;

/// The section `[legacy_v1]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LegacyV1 {
    /// Which routes of the removed v1 API are served.
    pub profile: Profile,
    /// Addresses and networks of the homeservers that profile `delegate` serves.
    pub delegate_allow_ips: OneOrMany<Cidr>,
}

/// Routes of the removed v1 API; each profile includes the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Profile {
    /// None.
    Off,
    /// Routes named by links in mails and by rooms: keys, signing, `GET submitToken`.
    #[default]
    Invites,
    /// Routes with which the named homeservers delegate the validation of telephone numbers.
    Delegate,
    /// All routes, for every client.
    Full,
}

impl TryFrom<String> for Profile {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "off" => Ok(Self::Off),
            "invites" => Ok(Self::Invites),
            "delegate" => Ok(Self::Delegate),
            "full" => Ok(Self::Full),
            _ => Err(format!("expected \"off\", \"invites\", \"delegate\" or \"full\", found \"{word}\"")),
        }
    }
}

/// The addresses of this machine, where a reverse proxy usually is.
const LOCAL: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// The versions of the removed API. Only profile `full` serves all of it.
const LEGACY_VERSIONS: [&str; 4] = ["r0.1.0", "r0.2.0", "r0.2.1", "r0.3.0"];

impl LegacyV1 {
    /// The versions of the removed API that this server announces.
    pub fn versions(&self) -> &'static [&'static str] {
        match self.profile {
            Profile::Full => &LEGACY_VERSIONS,
            Profile::Off | Profile::Invites | Profile::Delegate => &[],
        }
    }

    /// Whether the delegation routes exist for the client at `address`.
    pub fn may_delegate(&self, address: IpAddr) -> bool {
        match self.profile {
            Profile::Off | Profile::Invites => false,
            Profile::Delegate => self.delegate_allow_ips.as_slice().iter().any(|network| network.contains(address)),
            Profile::Full => true,
        }
    }

    /// Whether the client at `address` is one of the operator's delegating homeservers.
    pub fn is_delegating_homeserver(&self, address: IpAddr) -> bool {
        self.profile == Profile::Delegate && self.may_delegate(address)
    }

    pub(super) fn check(&self, registration: &Registration) -> Result<(), ConfigError> {
        let (key, problem) = match (self.profile, self.delegate_allow_ips.is_empty()) {
            (Profile::Delegate, true) => (
                "legacy_v1.delegate_allow_ips",
                "profile \"delegate\" needs the addresses of your homeservers, such as [\"10.0.0.5\"]; set it",
            ),
            (Profile::Full, false) => (
                "legacy_v1.delegate_allow_ips",
                "profile \"full\" serves everyone, so the list has no effect; remove it",
            ),
            (Profile::Full, true) if !registration.allow_servers.is_empty() => (
                "legacy_v1.profile",
                "\"full\" has no accounts, so [registration] allow_servers has no effect; remove one of them",
            ),
            _ => return Ok(()),
        };
        Err(ConfigError::invalid(key, problem))
    }

    /// What an operator should know of the addresses of `delegate`. Without `trusted_proxies` every request through a reverse
    /// proxy has the address of the proxy.
    pub(super) fn delegate_notice(&self, may_be_behind_proxy: bool) -> Option<String> {
        if self.profile != Profile::Delegate {
            return None;
        }
        let listed = self.delegate_allow_ips.as_slice();
        if let Some(network) = listed.iter().find(|network| network.is_most_of_the_internet()) {
            return Some(format!(
                "INSECURE: [legacy_v1] delegate_allow_ips: every client in {network:?} can send SMS without an account; list \
                 only the addresses of your homeservers"
            ));
        }
        let near = listed
            .iter()
            .find(|network| LOCAL.iter().filter_map(|local| local.parse().ok()).any(|local| network.is_within(&local)));
        near.filter(|_| may_be_behind_proxy).map(|network| {
            format!(
                "[legacy_v1] delegate_allow_ips has {network:?}, and [http] trusted_proxies is empty: the requests of all \
                 clients behind a reverse proxy with such an address count as your homeserver's, so that everyone can send \
                 SMS; set trusted_proxies to the address of the proxy"
            )
        })
    }

    pub(super) fn notice(&self) -> Option<String> {
        match self.profile {
            Profile::Full => Some(
                "INSECURE: [legacy_v1] profile is \"full\": every client that reaches this server can look up addresses in \
                 clear text, send mail and SMS, and bind addresses to any user, without an account"
                    .to_owned(),
            ),
            Profile::Off | Profile::Invites if !self.delegate_allow_ips.is_empty() => Some(
                "[legacy_v1] delegate_allow_ips has no effect: only profile \"delegate\" uses it".to_owned(),
            ),
            Profile::Off | Profile::Invites | Profile::Delegate => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::config::Globs;

    use super::{LegacyV1, Profile, Registration};

    fn settings(profile: Profile, allowed: &[&str]) -> LegacyV1 {
        let allowed: Vec<_> = allowed.iter().map(|network| network.parse().unwrap()).collect();
        LegacyV1 { profile, delegate_allow_ips: allowed.into() }
    }

    #[test]
    fn a_list_that_contradicts_the_profile_is_rejected_and_one_without_effect_gives_a_notice() {
        let everyone = Registration::default();
        let some = Registration { allow_servers: Globs::from(["hs.example"]), ..Registration::default() };
        let others = Registration { deny_servers: Globs::from(["*.evil"]), ..Registration::default() };
        let list = &["10.0.0.5"][..];
        for (profile, allowed, registration, problem) in [
            (Profile::Off, &[][..], &some, None),
            (Profile::Off, list, &some, None),
            (Profile::Invites, &[], &some, None),
            (Profile::Invites, list, &some, None),
            (Profile::Delegate, list, &some, None),
            (Profile::Delegate, &[], &everyone, Some("[legacy_v1] delegate_allow_ips: profile \"delegate\" needs")),
            (Profile::Full, &[], &everyone, None),
            (Profile::Full, &[], &others, None),
            (Profile::Full, list, &everyone, Some("[legacy_v1] delegate_allow_ips: profile \"full\" serves everyone")),
            (Profile::Full, &[], &some, Some("[registration] allow_servers")),
        ] {
            let settings = settings(profile, allowed);
            match (settings.check(registration), problem) {
                (Ok(()), None) => {}
                (Err(error), Some(problem)) => assert!(error.to_string().contains(problem), "{error}"),
                (result, _) => panic!("{settings:?}: {result:?}"),
            }
            let has_notice = settings.notice().is_some();
            let has_no_effect = !allowed.is_empty() && matches!(profile, Profile::Off | Profile::Invites);
            assert_eq!(has_notice, has_no_effect || profile == Profile::Full, "{settings:?}");
        }
    }

    #[test]
    fn a_list_in_which_a_reverse_proxy_or_everyone_may_be_is_a_notice() {
        for (profile, allowed, may_be_behind_proxy, expected) in [
            (Profile::Delegate, &["127.0.0.1"][..], true, Some("trusted_proxies is empty")),
            (Profile::Delegate, &["203.0.113.9", "10.0.0.5"], true, None),
            (Profile::Delegate, &["::1"], true, Some("trusted_proxies is empty")),
            (Profile::Delegate, &["127.0.0.1"], false, None),
            (Profile::Delegate, &["203.0.113.9"], true, None),
            (Profile::Delegate, &["0.0.0.0/0", "::/0"], false, Some("INSECURE")),
            (Profile::Invites, &["127.0.0.1"], true, None),
        ] {
            let notice = settings(profile, allowed).delegate_notice(may_be_behind_proxy);
            assert_eq!(notice.is_some(), expected.is_some(), "{allowed:?}");
            assert!(notice.is_none_or(|text| text.contains(expected.unwrap_or_default())));
        }
    }

    #[test]
    fn delegating_homeservers_are_listed_by_address_or_network() {
        let named = settings(Profile::Delegate, &["10.0.0.5", "192.168.0.0/24", "fd00::/8"]);
        let may = |settings: &LegacyV1, address: &str| settings.may_delegate(address.parse().unwrap());
        for (address, is_named) in [
            ("10.0.0.5", true),
            ("192.168.0.200", true),
            ("fd00::1", true),
            ("10.0.0.6", false),
            ("192.168.1.1", false),
            ("::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(may(&named, address), is_named, "{address}");
            assert!(may(&settings(Profile::Full, &[]), address), "{address}");
            for profile in [Profile::Off, Profile::Invites] {
                assert!(!may(&settings(profile, &["0.0.0.0/0", "::/0"]), address), "{address}");
            }
        }
    }
}
