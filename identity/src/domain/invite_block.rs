//! A person's wish to get no more invitations by mail: what the link in an invitation carries, and what is stored of it.
//!
//! Invariant: only digests are stored. The link carries the address sealed, so it shows no address to a proxy or a log.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::mxid::UserId;
use super::threepid::{Medium, ThreePid};

/// Separates the sealed links from other sealed data.
pub const SEALED_AS: &[u8] = b"link that blocks invitations";

/// An invited address and the sender of the invitation.
#[derive(Clone, Debug)]
pub struct InviteBlock {
    pub threepid: ThreePid,
    pub sender: UserId,
}

/// Which invitations to an address are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the sender.
    Sender,
    /// All.
    All,
}

impl Scope {
    pub const ALL: [Self; 2] = [Self::Sender, Self::All];

    /// The word in the form of the page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::All => "all",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl InviteBlock {
    /// The content of a link, to be sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Neither part can contain the separator.
        [self.threepid.recipient(), "\0", self.sender.as_str()].concat().into_bytes()
    }

    /// Reads the content of a link.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (address, sender) = std::str::from_utf8(bytes).ok()?.split_once('\0')?;
        let threepid = ThreePid::canonical(Medium::Email, address).ok()?;
        Some(Self { threepid, sender: UserId::from_row(sender).ok()? })
    }

    /// The text whose digest is stored.
    pub fn text(&self, scope: Scope) -> String {
        match scope {
            Scope::Sender => block_text(&self.threepid, Some(&self.sender)),
            Scope::All => block_text(&self.threepid, None),
        }
    }
}

/// The text whose digest blocks the invitations of `sender`, or of all. All spellings of the address and of the sender have
/// the same.
pub fn block_text(threepid: &ThreePid, sender: Option<&UserId>) -> String {
    let address = threepid.limit_form();
    match sender {
        Some(sender) => format!("sender\0{address}\0{}", sender.limit_form()),
        None => format!("all\0{address}"),
    }
}

/// The link in an invitation; `sealed` is the sealed content.
pub fn block_url(base_url: &str, sealed: &[u8]) -> String {
    format!("{base_url}/_identity/v1/invites/block?token={}", URL_SAFE_NO_PAD.encode(sealed))
}

/// The sealed content of a link's token.
pub fn unsealed_token(token: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(token.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::{InviteBlock, Scope, block_url, unsealed_token};
    use crate::domain::mxid::UserId;
    use crate::domain::threepid::{Medium, ThreePid};

    fn block(address: &str, sender: &str) -> InviteBlock {
        let threepid = ThreePid::canonical(Medium::Email, address).unwrap();
        InviteBlock { threepid, sender: UserId::parse(sender).unwrap() }
    }

    #[test]
    fn a_link_keeps_the_address_and_the_sender() {
        let block = block("Bob@Example.com", "@alice:hs.example");
        let read = InviteBlock::from_bytes(&block.to_bytes()).unwrap();
        assert_eq!((read.threepid.recipient(), read.sender.as_str()), ("Bob@Example.com", "@alice:hs.example"));
        for wrong in [&b""[..], b"bob@example.com", b"bob\0@alice:hs", b"bob@x\0alice", b"\xff\0@a:hs"] {
            assert!(InviteBlock::from_bytes(wrong).is_none(), "{wrong:?}");
        }
        let url = block_url("https://id.example.org", &[255, 0, 62]);
        let (base, token) = url.split_once("?token=").unwrap();
        assert_eq!(
            (base, unsealed_token(token)),
            ("https://id.example.org/_identity/v1/invites/block", Some(vec![255, 0, 62]))
        );
        assert_eq!(unsealed_token("no base64!"), None);
    }

    #[test]
    fn spellings_share_a_text_and_scopes_senders_and_addresses_do_not() {
        let text = |address: &str, sender: &str, scope| block(address, sender).text(scope);
        let alice = "@alice:hs.example";
        assert_eq!(
            text("Bob@Example.com", alice, Scope::Sender),
            text("bob@example.com", "@alice:HS.example", Scope::Sender)
        );
        assert_eq!(text("bob@example.com", alice, Scope::All), text("bob@example.com", "@eve:hs.example", Scope::All));
        for other in [
            text("bob@example.com", alice, Scope::All),
            text("bob@example.com", "@eve:hs.example", Scope::Sender),
            text("rob@example.com", alice, Scope::Sender),
        ] {
            assert_ne!(other, text("bob@example.com", alice, Scope::Sender));
        }
    }

    #[test]
    fn a_scope_is_one_of_two_words() {
        assert_eq!(["sender", "all", "", "ALL"].map(Scope::parse), [Some(Scope::Sender), Some(Scope::All), None, None]);
    }
}
