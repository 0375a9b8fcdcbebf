//! The link in an invitation mail.
//!
//! Invariant: the host is the operator's default or an entry of the operator's list, byte for byte. Every value of a request
//! is percent-encoded after the `#`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// All characters except the unreserved ones (RFC 3986 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, without the slash.
const ENCODED_BUT_SLASH: &AsciiSet = &ENCODED.remove(b'/');

/// The values of the link, not yet encoded.
#[derive(Clone, Copy)]
pub struct InviteLink<'a> {
    /// The web client's URL without a trailing slash.
    pub web_client: &'a str,
    /// The URL at which the client has the join signed.
    pub signurl: &'a str,
    pub room_id: &'a str,
    /// The invited address.
    pub email: &'a str,
    pub room_name: &'a str,
    pub room_avatar_url: &'a str,
    pub inviter_name: &'a str,
    pub guest_access_token: &'a str,
    pub guest_user_id: &'a str,
    pub room_type: &'a str,
}

impl InviteLink<'_> {
    pub fn to_url(self) -> String {
        let encoded = |text| utf8_percent_encode(text, ENCODED_BUT_SLASH);
        format!(
            "{}/#/room/{}?email={}&signurl={}&room_name={}&room_avatar_url={}&inviter_name={}&guest_access_token={}\
             &guest_user_id={}&room_type={}",
            self.web_client,
            encoded(self.room_id),
            encoded(self.email),
            utf8_percent_encode(self.signurl, ENCODED),
            encoded(self.room_name),
            encoded(self.room_avatar_url),
            encoded(self.inviter_name),
            encoded(self.guest_access_token),
            encoded(self.guest_user_id),
            encoded(self.room_type)
        )
    }
}

/// The URL at which a client has its join signed. `path` is the path of sign-ed25519. Tokens and keys of this server need no
/// encoding in a query, but imported tokens may.
pub fn signurl(base_url: &str, path: &str, token: &str, private_key: &str) -> String {
    let encoded = |text| utf8_percent_encode(text, ENCODED);
    format!("{base_url}{path}?token={}&private_key={}", encoded(token), encoded(private_key))
}

/// The web client in the link: the requested one if it is a bare https origin in the operator's list, else the default.
pub fn web_client<'a>(default: &'a str, listed: &'a [String], requested: &str) -> &'a str {
    let origin = bare_https_origin(requested);
    let found =
        origin.and_then(|origin| listed.iter().find(|entry| bare_https_origin(entry).as_ref() == Some(&origin)));
    found.map_or(default, String::as_str).trim_end_matches('/')
}

/// The text as an origin, if it has `https://`, a host, an optional port and an optional slash, and nothing more.
pub fn bare_https_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https")?;
    let origin = url.origin().ascii_serialization();
    // A parser repairs backslashes, white space, user names and look-alike letters; the repaired text differs.
    text.strip_suffix('/').unwrap_or(text).eq_ignore_ascii_case(&origin).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::{InviteLink, bare_https_origin, signurl, web_client};

    const SIGNURL: &str = "https://id.example.org/_matrix/identity/api/v1/sign-ed25519?token=abc123&private_key=tQOpPxbsuKiwNk_2d_9BtdQVWOmwYlqiFLiB-h1Er30";

    #[test]
    fn the_link_has_all_parameters_in_their_order() {
        let signurl = signurl(
            "https://id.example.org",
            "/_matrix/identity/api/v1/sign-ed25519",
            "abc123",
            "tQOpPxbsuKiwNk_2d_9BtdQVWOmwYlqiFLiB-h1Er30",
        );
        assert_eq!(signurl, SIGNURL);
        let link = InviteLink {
            web_client: "https://app.element.io",
            signurl: &signurl,
            room_id: "!something:example.org",
            email: "bob@example.com",
            room_name: "Bob's Emporium",
            room_avatar_url: "mxc://example.org/s0meM3dia",
            inviter_name: "Alice Ä",
            guest_access_token: "",
            guest_user_id: "",
            room_type: "",
        };
        assert_eq!(
            link.to_url(),
            "https://app.element.io/#/room/%21something%3Aexample.org?email=bob%40example.com&signurl=https%3A%2F%2Fid.example.org%2F_matrix%2Fidentity%2Fapi%2Fv1%2Fsign-ed25519%3Ftoken%3Dabc123%26private_key%3DtQOpPxbsuKiwNk_2d_9BtdQVWOmwYlqiFLiB-h1Er30&room_name=Bob%27s%20Emporium&room_avatar_url=mxc%3A//example.org/s0meM3dia&inviter_name=Alice%20%C3%84&guest_access_token=&guest_user_id=&room_type="
        );
    }

    #[test]
    fn no_value_escapes_from_its_parameter() {
        let hostile = "a&signurl=x#y?z=%41\r\n<\"'> \u{202e}";
        let link = InviteLink {
            web_client: "https://c",
            signurl: hostile,
            room_id: hostile,
            email: hostile,
            room_name: hostile,
            room_avatar_url: hostile,
            inviter_name: hostile,
            guest_access_token: hostile,
            guest_user_id: hostile,
            room_type: hostile,
        };
        let url = link.to_url();
        let (_, fragment) = url.split_once("/#/room/").unwrap();
        assert!(fragment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%?&=".contains(&b)), "{fragment}");
        assert_eq!((fragment.matches('&').count(), fragment.matches('=').count()), (7, 8));
        let values = fragment.split_once('?').unwrap().1.split('&').map(|pair| pair.split_once('=').unwrap().1);
        for value in values {
            assert_eq!(percent_encoding::percent_decode_str(value).decode_utf8().unwrap(), hostile);
        }
    }

    #[test]
    fn only_a_listed_origin_replaces_the_default_client() {
        let listed = ["https://chat.example.org".to_owned(), "https://b.example:8443/".to_owned()];
        let choose = |asked| web_client("https://app.element.io", &listed, asked);
        for asked in ["https://chat.example.org", "https://chat.example.org/", "HTTPS://Chat.Example.ORG"] {
            assert_eq!(choose(asked), "https://chat.example.org", "{asked}");
        }
        assert_eq!(choose("https://b.example:8443"), "https://b.example:8443");
        for asked in [
            "",
            "javascript:alert(1)//",
            "javascript:alert(1)//https://chat.example.org",
            "https://evil",
            "http://chat.example.org",
            "https://chat.example.org/path",
            "https://chat.example.org//",
            "https://chat.example.org?x",
            "https://chat.example.org#x",
            "https://chat.example.org:8443",
            "https://b.example",
            "https://chat.example.org@evil",
            "https://x@chat.example.org",
            "https://@chat.example.org",
            "https://chat.example.org.evil",
            "https://chat.example.org.",
            "https:\\\\chat.example.org",
            "https:chat.example.org",
            "https:///chat.example.org",
            " https://chat.example.org",
            "https://chat.example.org\n",
            "https://chat.exam\tple.org",
            "https://ch\u{430}t.example.org",
            "https://ｃhat.example.org",
            "//chat.example.org",
            "chat.example.org",
            "data:text/html,x",
        ] {
            assert_eq!(choose(asked), "https://app.element.io", "{asked:?}");
        }
    }

    #[test]
    fn an_origin_has_no_more_than_host_and_port() {
        assert_eq!(bare_https_origin("https://c.example:443"), None, "the default port is not written");
        assert_eq!(bare_https_origin("https://[::1]:8443").as_deref(), Some("https://[::1]:8443"));
        assert_eq!(
            bare_https_origin("https://xn--bcher-kva.example").as_deref(),
            Some("https://xn--bcher-kva.example")
        );
    }
}
