//! The URL of a push service that a user chose: which ones are sent to.
//!
//! Invariant: the parsed host decides, never the text. A URL is rejected only for its own form; where a name leads is checked
//! when it is resolved.

use http::uri::PathAndQuery;
use shared::config::Globs;
use shared::outbound::guard::AddressGuard;
use url::{Host, Position, Url};

use std::net::{IpAddr, SocketAddr};

use crate::providers::outcome::{Certainty, Outcome};
use crate::upstream::origin::Origin;

/// Names below these belong to the local network.
const LOCAL: [&str; 4] = ["localhost", "local", "internal", "home.arpa"];

/// The endpoints that an app sends to.
#[derive(Clone, Debug)]
pub(super) struct EndpointRules {
    allows_http: bool,
    /// `host:port`; empty for any.
    allowed: Globs,
    guard: AddressGuard,
    has_allowed_networks: bool,
}

/// An endpoint whose form is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    url: Url,
    host: Host<String>,
    port: u16,
    /// Whether it is allowed only if all its addresses lie in `[outbound] allow_cidrs`.
    pub(super) needs_allowance: bool,
}

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Invalid,
    NotAllowed,
}

impl EndpointRules {
    pub(super) fn new(allows_http: bool, allowed: &[String], guard: AddressGuard, has_allowed_networks: bool) -> Self {
        let mut globs = Globs::default();
        globs.extend(allowed.iter().map(|entry| with_port(entry)));
        Self { allows_http, allowed: globs, guard, has_allowed_networks }
    }

    /// Reads an endpoint.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn check(&self, text: &str) -> Result<Endpoint, Refusal> {
        let mut endpoint = Endpoint::parse(text).ok_or(Refusal::Invalid)?;
        if endpoint.url.scheme() != "https" && !self.allows_http {
            return Err(Refusal::Invalid);
        }
        let name = endpoint.host_name();
        let is_usual_port = matches!(endpoint.port, 80 | 443 | 1024..);
        let is_public = match &endpoint.host {
            Host::Domain(_) => is_public_name(&name),
            Host::Ipv4(ip) => self.guard.permits(SocketAddr::new(IpAddr::V4(*ip), endpoint.port)),
            Host::Ipv6(ip) => self.guard.permits(SocketAddr::new(IpAddr::V6(*ip), endpoint.port)),
        };
        endpoint.needs_allowance = !is_usual_port || !is_public;
        if !is_usual_port && !self.has_allowed_networks {
            return Err(Refusal::Invalid);
        }
        if !self.allowed.is_empty() && !self.allowed.matches(&format!("{name}:{}", endpoint.port)) {
            return Err(Refusal::NotAllowed);
        }
        if !endpoint.needs_allowance {
            return Ok(endpoint);
        }
        let is_allowed = match &endpoint.host {
            // The resolver decides.
            Host::Domain(_) => self.has_allowed_networks,
            Host::Ipv4(ip) => self.guard.allows(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => self.guard.allows(IpAddr::V6(*ip)),
        };
        if is_allowed { Ok(endpoint) } else { Err(Refusal::Invalid) }
    }
}

impl Endpoint {
    /// Parses a URL as browsers do, but refuses spellings that only they accept.
    fn parse(text: &str) -> Option<Self> {
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        let is_url = lower.starts_with("https://") || lower.starts_with("http://");
        if !is_url || text.chars().any(char::is_control) || text.ends_with(' ') {
            return None;
        }
        let mut url = Url::parse(text).ok()?;
        url.set_fragment(None);
        let is_plain =
            matches!(url.scheme(), "https" | "http") && url.username().is_empty() && url.password().is_none();
        let host = url.host().filter(|_| is_plain)?.to_owned();
        let port = url.port_or_known_default()?;
        Some(Self { url, host, port, needs_allowance: false })
    }

    /// What the request is sent to. `None` if the path has no place in a request.
    pub(super) fn target(&self) -> Option<(Origin, PathAndQuery)> {
        Some((Origin::of(&self.url)?, self.url[Position::BeforePath..Position::AfterQuery].parse().ok()?))
    }

    /// The host in lower case, without a final dot and without the port.
    pub(super) fn host_name(&self) -> String {
        self.host.to_string().trim_end_matches('.').to_ascii_lowercase()
    }

    pub(super) fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The origin, for VAPID.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid => Self::rejected("invalid_endpoint", Certainty::Suspect),
            // The operator may extend the list, so the pusher stays.
            Refusal::NotAllowed => Self::Dropped("endpoint_not_allowed"),
        }
    }
}

/// The canonical spelling of the endpoint `text`; an invalid one stays as it is.
pub(super) fn canonical(text: &str) -> String {
    Endpoint::parse(text).map_or_else(|| text.to_owned(), |endpoint| endpoint.url.into())
}

/// The host of the endpoint `text`, if it has one.
pub(super) fn host_of(text: &str) -> Option<String> {
    Endpoint::parse(text).map(|endpoint| endpoint.host_name())
}

fn is_public_name(name: &str) -> bool {
    let is_below =
        |parent: &&str| name == *parent || name.strip_suffix(*parent).is_some_and(|rest| rest.ends_with('.'));
    name.contains('.') && !LOCAL.iter().any(is_below)
}

/// Whether an entry of `allowed_endpoints` can match a host with its port.
pub(super) fn is_entry(entry: &str) -> bool {
    let entry = entry.trim();
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (entry, None),
    };
    let can_be_port = |port: &str| {
        port.parse::<u16>().is_ok()
            || port.contains('*') && port.chars().all(|c| c.is_ascii_digit() || "*?".contains(c))
    };
    !host.is_empty()
        && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@#\\,;\"'".contains(c))
        && (!host.contains(':') || host.starts_with('['))
        && port.is_none_or(can_be_port)
}

/// An entry of `allowed_endpoints` with its port.
fn with_port(entry: &str) -> String {
    let entry = entry.trim();
    let after_address = entry.rsplit(']').next().unwrap_or(entry);
    if after_address.contains(':') { entry.to_owned() } else { format!("{entry}:443") }
}

#[cfg(test)]
mod tests {
    use shared::config::Cidr;
    use shared::outbound::guard::AddressGuard;

    use super::{EndpointRules, Refusal, canonical, host_of};

    fn rules(allows_http: bool, allowed: &[&str], networks: &[&str]) -> EndpointRules {
        let networks: Vec<Cidr> = networks.iter().map(|text| text.parse().unwrap()).collect();
        let allowed: Vec<String> = allowed.iter().map(|text| (*text).to_owned()).collect();
        let has_networks = !networks.is_empty();
        EndpointRules::new(allows_http, &allowed, AddressGuard::new(&networks, &[]), has_networks)
    }

    #[test]
    fn only_public_https_urls_are_endpoints() {
        let rules = rules(false, &[], &[]);
        for good in [
            "https://push.example.net/x",
            "HTTPS://NTFY.SH/upAAAA?up=1",
            "https://push.example.net:8443/",
            "https://push.example.net:80/",
            "https://9.9.9.9/x",
            "https://[2606:4700::1111]/x",
            "https://ntfy.sh./up",
        ] {
            assert!(rules.check(good).is_ok_and(|endpoint| !endpoint.needs_allowance), "{good}");
        }
        for bad in [
            "",
            "notaurl",
            "http://push.example.net/x",
            "ftp://push.example.net/",
            "unix://x",
            " https://push.example.net/",
            "https://push.example.net/\n",
            "https:/push.example.net/",
            "https:push.example.net",
            "https:\\\\push.example.net",
            "https://u@push.example.net/",
            "https://:p@push.example.net/",
            "https://push.example.net:25/",
            "https://push.example.net:0/",
            "https://push.example.net:65536/",
            "https://push",
            "https://localhost/",
            "https://a.localhost/",
            "https://printer.local/",
            "https://metadata.google.internal/",
            "https://nas.home.arpa./",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a00:1]/",
            "https://10.0.0.1./",
        ] {
            assert_eq!(rules.check(bad), Err(Refusal::Invalid), "{bad}");
        }
    }

    #[test]
    fn the_parsed_host_and_port_decide_whether_the_list_allows_an_endpoint() {
        let rules = rules(true, &["*.notify.windows.com", "push.example.net:8443", "web.push.apple.com"], &[]);
        for (text, is_allowed) in [
            ("https://db5p.notify.windows.com/w/?token=x", true),
            ("https://X.NOTIFY.WINDOWS.COM./", true),
            ("https://x.notify.windows.com:8443/", false),
            ("https://push.example.net:8443/", true),
            ("https://push.example.net/", false),
            ("http://web.push.apple.com/", false),
            ("https://evil.example/#@x.notify.windows.com", false),
            ("https://evil.example\\@x.notify.windows.com", false),
            ("https://evil.example/?x.notify.windows.com", false),
            ("https://notify.windows.com.evil.example/", false),
        ] {
            let expected = if is_allowed { Ok(()) } else { Err(Refusal::NotAllowed) };
            assert_eq!(rules.check(text).map(drop), expected, "{text}");
        }
    }

    #[test]
    fn allowed_networks_lift_the_rules_for_hosts_in_them() {
        let rules = rules(true, &[], &["127.0.0.0/8", "fd00::/8"]);
        for (text, expected) in [
            ("http://127.0.0.1:99/x", Ok(true)),
            ("https://[fd00::1]/x", Ok(false)),
            ("https://10.0.0.1/x", Err(Refusal::Invalid)),
            // The addresses of a name are known later.
            ("https://ntfy:25/x", Ok(true)),
            ("https://ntfy.local/x", Ok(true)),
            ("https://push.example.net/x", Ok(false)),
        ] {
            assert_eq!(rules.check(text).map(|endpoint| endpoint.needs_allowance), expected, "{text}");
        }
    }

    #[test]
    fn spellings_of_one_endpoint_share_the_canonical_form() {
        assert_eq!(canonical("HTTPS://Push.Example.Net:443/a%2Fb?up=1#f"), "https://push.example.net/a%2Fb?up=1");
        assert_eq!(canonical("https:x"), "https:x");
        assert_eq!(host_of("https://Push.Example.Net.:8443/x").as_deref(), Some("push.example.net"));
    }
}
