//! The invitee as a request names it, valid or not.
//!
//! Invariant: an invalid invitee keeps its text, because the operator's keywords are checked before the address. `Debug`
//! hides the text.

use std::fmt;

use super::threepid::{Medium, ThreePid};

/// The invitee of a request.
#[derive(Clone)]
pub struct Invitee {
    medium: String,
    address: String,
    threepid: Result<ThreePid, NotInvitable>,
}

/// Why the invitee cannot be invited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInvitable {
    /// Invitations are sent by e-mail alone.
    #[error("the medium is not email")]
    Medium,
    #[error("not an e-mail address")]
    Email,
}

impl Invitee {
    pub fn new(medium: &str, address: &str) -> Self {
        let threepid = match medium.parse() {
            Ok(Medium::Email) => ThreePid::canonical(Medium::Email, address).map_err(|_| NotInvitable::Email),
            Ok(Medium::Msisdn) => ThreePid::canonical(Medium::Msisdn, address).map_err(|_| NotInvitable::Medium),
            Err(_) => Err(NotInvitable::Medium),
        };
        Self { medium: medium.to_owned(), address: address.to_owned(), threepid }
    }

    /// The texts, for the operator's keywords.
    pub fn words(&self) -> [&str; 2] {
        [&self.medium, &self.address]
    }

    /// The identifier of either medium, if the invitee is valid; it may be bound.
    pub fn threepid(&self) -> Option<&ThreePid> {
        self.threepid.as_ref().ok()
    }

    /// The identifier, if it is an e-mail address.
    ///
    /// # Errors
    /// [`NotInvitable`].
    pub fn by_email(&self) -> Result<&ThreePid, NotInvitable> {
        let threepid = self.threepid.as_ref().map_err(|error| *error)?;
        if threepid.medium() == Medium::Email { Ok(threepid) } else { Err(NotInvitable::Medium) }
    }
}

impl fmt::Debug for Invitee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitee(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Invitee, NotInvitable};

    #[test]
    fn only_an_email_address_can_be_invited() {
        for (medium, address, is_identifier, by_email) in [
            ("email", "Bob@Example.com", true, Ok("bob@example.com")),
            ("email", "bob", false, Err(NotInvitable::Email)),
            ("msisdn", "447700900001", true, Err(NotInvitable::Medium)),
            ("msisdn", "bob@example.com", false, Err(NotInvitable::Medium)),
            ("pigeon", "bob@example.com", false, Err(NotInvitable::Medium)),
            ("", "", false, Err(NotInvitable::Medium)),
        ] {
            let invitee = Invitee::new(medium, address);
            assert_eq!(invitee.threepid().is_some(), is_identifier, "{medium} {address}");
            assert_eq!(invitee.by_email().map(|threepid| threepid.address().as_str()), by_email, "{medium} {address}");
            assert_eq!(invitee.words(), [medium, address]);
            assert_eq!(format!("{invitee:?}"), "Invitee(***)");
        }
    }
}
