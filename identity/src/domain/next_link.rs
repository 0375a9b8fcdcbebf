//! The URL to which a browser is redirected after a validation (specification: `next_link` of `requestToken`).
//!
//! Invariant: a [`NextLink`] is absolute and names a host that the operator allows. A browser reads it exactly as it was
//! checked; a text that parsers read differently is rejected.

use std::fmt;

use shared::config::Globs;
use url::{Host, Url, form_urlencoded};

use super::sid::Sid;

/// The longest link in octets.
const MAX_LENGTH: usize = 2048;

/// Why a link is rejected. The error does not quote the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNextLink {
    #[error("next_link is longer than 2048 bytes")]
    TooLong,
    #[error("next_link has a control character, white space or a backslash")]
    Character,
    /// It is not an absolute URL of an allowed scheme.
    #[error("next_link is not an absolute https URL")]
    Scheme,
    #[error("next_link has a user name or a password")]
    UserInfo,
    #[error("the host of next_link is not allowed here")]
    Host,
}

/// Which links the operator allows.
#[derive(Clone, Debug)]
pub struct NextLinkRule {
    /// Patterns of allowed hosts, without port (`[sessions] next_link_hosts`). Empty: any host, and no redirect.
    pub hosts: Globs,
    /// Whether `http:` to a loopback host is allowed too (`[server] allow_http_base_url`).
    pub allow_http_to_loopback: bool,
}

impl NextLinkRule {
    /// Whether the browser is redirected. Without a list of hosts a redirect would lead from this server's name to any
    /// site.
    pub fn redirects(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Checks a client's link. An empty text counts as absent.
    ///
    /// # Errors
    /// [`InvalidNextLink`].
    pub fn check(&self, text: &str) -> Result<Option<NextLink>, InvalidNextLink> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_LENGTH {
            return Err(InvalidNextLink::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(InvalidNextLink::Character);
        }
        let url = Url::parse(text).map_err(|_| InvalidNextLink::Scheme)?;
        // Browsers read `https:evil` and `https:///evil` as absolute, and drop an empty user name.
        let (scheme, rest) = text.split_once("://").ok_or(InvalidNextLink::Scheme)?;
        if !scheme.eq_ignore_ascii_case(url.scheme()) {
            return Err(InvalidNextLink::Scheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err(InvalidNextLink::Scheme);
        }
        if authority.contains('@') {
            return Err(InvalidNextLink::UserInfo);
        }
        let host = url.host().ok_or(InvalidNextLink::Scheme)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http_to_loopback && is_loopback(&host) => {}
            _ => return Err(InvalidNextLink::Scheme),
        }
        if self.redirects() && !self.hosts.matches(&host.to_string()) {
            return Err(InvalidNextLink::Host);
        }
        Ok(Some(NextLink(text.to_owned())))
    }
}

/// A checked link. Never printed, because it may hold a client's state.
#[derive(Clone, PartialEq, Eq)]
pub struct NextLink(String);

impl NextLink {
    /// The link of a row. For the store alone.
    pub fn from_row(text: String) -> Self {
        Self(text)
    }

    /// The link as the client sent it, for the row.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The link's host as a browser reads it, in ASCII.
    pub fn host(&self) -> String {
        let url = Url::parse(&self.0).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Where the browser continues: the link with `sid` added to its query, in ASCII.
    pub fn with_sid(&self, sid: &Sid) -> String {
        // A link with non-ASCII characters is sent as the parser writes it; an ASCII link keeps its octets.
        let link = match Url::parse(&self.0) {
            Ok(url) if !self.0.is_ascii() => url.into(),
            _ => self.0.clone(),
        };
        let (before, fragment) = match link.split_once('#') {
            Some((before, fragment)) => (before, Some(fragment)),
            None => (link.as_str(), None),
        };
        let joint = if before.contains('?') { '&' } else { '?' };
        let sid: String = form_urlencoded::byte_serialize(sid.as_str().as_bytes()).collect();
        let target = format!("{before}{joint}sid={sid}");
        match fragment {
            Some(fragment) => format!("{target}#{fragment}"),
            None => target,
        }
    }
}

impl fmt::Debug for NextLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextLink(***)")
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidNextLink, NextLinkRule};
    use crate::domain::sid::Sid;
    use shared::config::Globs;

    fn rule<const N: usize>(hosts: [&str; N]) -> NextLinkRule {
        NextLinkRule { hosts: Globs::from(hosts), allow_http_to_loopback: false }
    }

    #[test]
    fn hostile_links_are_rejected() {
        let too_long = format!("https://x.org/{}", "a".repeat(2048 - 13));
        for link in [
            "javascript:x",
            "data:x",
            "file:///x",
            "FILE:///x",
            "//evil",
            "/x",
            "https://u@evil",
            "https:\\\\evil",
            "https:/\\evil",
            "https://evil\r\nSet-Cookie: a=b",
            "https://evil/\r\nX: y",
            " https://x.org",
            "https://x.org ",
            "https://x.org/a b",
            "https:evil",
            "https:/evil",
            "https:/evil/://x.org",
            "https:u:p@evil/://x.org",
            "https:///evil",
            "https://",
            "https://?x",
            "https://u:p@evil",
            "https://:p@evil",
            "https://@evil",
            "https://a%40b@evil",
            "http://x.org",
            "http://localhost",
            "ftp://x.org",
            "x",
            "#",
            "?a=b",
            "https://x\0.org",
            "https://x.org/\u{85}",
            "https://x.org\t/",
            "https://a b.org",
            "https://[::1",
            "https://x.org:99999",
            "blob:https://x.org/1",
            "view-source:https://x.org",
            "javascript://x.org/%0aalert(1)",
            "https://x\u{2028}.org",
            too_long.as_str(),
        ] {
            assert!(rule(["*"]).check(link).is_err(), "{link:?}");
        }
    }

    #[test]
    fn ordinary_links_are_accepted_and_an_empty_link_is_absent() {
        let longest = format!("https://x.org/{}", "a".repeat(2048 - 14));
        for link in [
            "https://x.org",
            "HTTPS://X.org/a?b=c#d",
            "https://x.org:8443/@user",
            "https://x.org/?u=a@b",
            "https://[2001:db8::1]/",
            "https://例子.org/ü",
            longest.as_str(),
        ] {
            assert_eq!(rule(["*"]).check(link).unwrap().unwrap().as_str(), link);
        }
        assert_eq!(rule(["*"]).check(""), Ok(None));
    }

    #[test]
    fn the_host_must_match_as_a_browser_reads_it() {
        let rule = rule(["app.example.org", "*.good.example"]);
        for link in [
            "https://app.example.org/x",
            "https://APP.example.org:8443",
            "https://a.good.example",
            "https://ａpp.example.org",
        ] {
            assert!(rule.check(link).is_ok(), "{link}");
        }
        for link in [
            "https://evil.org/app.example.org",
            "https://app.example.org.evil.org",
            "https://evil.org?app.example.org",
            "https://evil.org#.good.example",
            "https://good.example",
        ] {
            assert_eq!(rule.check(link), Err(InvalidNextLink::Host), "{link}");
        }
    }

    #[test]
    fn without_a_list_any_host_is_accepted_and_the_browser_is_not_redirected() {
        assert!(!rule([]).redirects() && rule(["*"]).redirects());
        let link = rule([]).check("https://user.EXAMPLE:8443/app.example.org").unwrap().unwrap();
        assert_eq!(link.host(), "user.example");
        assert_eq!(rule([]).check("https://m\u{fc}ller.example/").unwrap().unwrap().host(), "xn--mller-kva.example");
        assert_eq!(rule([]).check("javascript:x"), Err(InvalidNextLink::Scheme));
    }

    #[test]
    fn plain_http_is_allowed_to_loopback_hosts_alone_and_only_by_setting() {
        let rule = NextLinkRule { hosts: Globs::from(["*"]), allow_http_to_loopback: true };
        for link in
            ["http://localhost:8080/x", "http://127.0.0.1/x", "http://[::1]:1/", "http://127.1/", "https://x.org"]
        {
            assert!(rule.check(link).is_ok(), "{link}");
        }
        for link in ["http://x.org", "http://localhost.evil.org", "http://10.0.0.1", "http://0.0.0.0"] {
            assert_eq!(rule.check(link), Err(InvalidNextLink::Scheme), "{link}");
        }
    }

    #[test]
    fn the_session_id_is_added_to_the_query_before_the_fragment() {
        let sid = Sid::from("aB3".to_owned());
        for (link, target) in [
            ("https://x.org", "https://x.org?sid=aB3"),
            ("https://x.org/done", "https://x.org/done?sid=aB3"),
            ("https://x.org/done?a=b", "https://x.org/done?a=b&sid=aB3"),
            ("https://x.org/done#top", "https://x.org/done?sid=aB3#top"),
            ("https://x.org/done?a=b#/x?y", "https://x.org/done?a=b&sid=aB3#/x?y"),
            ("https://x.org/#/x?y", "https://x.org/?sid=aB3#/x?y"),
            ("https://müller.example/ü?ä", "https://xn--mller-kva.example/%C3%BC?%C3%A4&sid=aB3"),
        ] {
            assert_eq!(rule(["*"]).check(link).unwrap().unwrap().with_sid(&sid), target);
        }
        let odd = Sid::from("a&b#\r\n".to_owned());
        let link = rule(["*"]).check("https://x.org").unwrap().unwrap();
        assert_eq!(link.with_sid(&odd), "https://x.org?sid=a%26b%23%0D%0A");
    }
}
