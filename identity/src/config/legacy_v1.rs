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
