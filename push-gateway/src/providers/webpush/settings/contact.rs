//! `vapid_contact`: how push services reach the operator (RFC 8292, section 2.1).

use url::{Host, Url};

/// The contact as a URI; an address gets its scheme.
pub(super) fn uri(contact: &str) -> String {
    let contact = contact.trim();
    let is_uri = contact.starts_with("https:") || contact.starts_with("mailto:");
    if is_uri { contact.to_owned() } else { format!("mailto:{contact}") }
}

/// Whether this URI is one mail address, or a web page.
pub(super) fn is_valid(uri: &str) -> bool {
    let Some(address) = uri.strip_prefix("mailto:") else {
        return Url::parse(uri).is_ok_and(|url| url.scheme() == "https" && url.has_host());
    };
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>,;\"()".contains(c);
    let parts = address.split_once('@');
    address.chars().all(is_plain)
        && parts.is_some_and(|(name, domain)| {
            !name.is_empty() && !domain.is_empty() && !domain.contains('@') && Host::parse(domain).is_ok()
        })
}

/// Whether Apple refuses messages with this URI: its host is not a public name.
pub(super) fn is_refused_by_apple(uri: &str) -> bool {
    let host = match uri.strip_prefix("mailto:") {
        Some(address) => address.rsplit('@').next().and_then(|domain| Host::parse(domain).ok()),
        None => Url::parse(uri).ok().and_then(|url| url.host().map(|host| Host::to_owned(&host))),
    };
    match host {
        Some(Host::Domain(name)) => !name.trim_end_matches('.').contains('.') || name.ends_with(".localhost"),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => true,
    }
}
