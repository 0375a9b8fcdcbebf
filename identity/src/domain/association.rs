//! Associations: an address and its user, signed by this server.
//!
//! Invariant: a signed association has exactly the specification's members, and no invitations.

use std::time::Duration;

use serde_json::{Map, Value, json};
use shared::clock::Timestamp;

use super::mxid::UserId;
use super::threepid::ThreePid;

/// How long after an association an equal one is a repetition.
const REPEATED: Duration = Duration::from_secs(3600);

/// When an association is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment; none if it is valid from its creation, also by a clock that was set back since.
    pub from: Option<Timestamp>,
    /// The last moment.
    pub until: Timestamp,
}

impl Validity {
    /// The validity of an association that was created at `ts`.
    pub fn new(ts: Timestamp, not_before: Timestamp, not_after: Timestamp) -> Self {
        Self { from: (not_before != ts).then_some(not_before), until: not_after }
    }

    /// Whether it includes `now`.
    pub fn covers(self, now: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= now) && now <= self.until
    }
}

/// An address and its user, for a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// The address.
    pub threepid: ThreePid,
    /// Its user.
    pub mxid: UserId,
    /// When it was created.
    pub ts: Timestamp,
    /// The start of its validity.
    pub not_before: Timestamp,
    /// The end of its validity, inclusive.
    pub not_after: Timestamp,
}

impl Association {
    /// Creates an association that is valid from `now` for `validity`.
    pub fn new(threepid: ThreePid, mxid: UserId, now: Timestamp, validity: Duration) -> Self {
        Self { threepid, mxid, ts: now, not_before: now, not_after: now.plus(validity) }
    }

    /// Since and until when it is valid.
    pub fn validity(&self) -> Validity {
        Validity::new(self.ts, self.not_before, self.not_after)
    }

    /// Whether it is valid at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.validity().covers(now)
    }

    /// Whether it only repeats `earlier`: the same address, as typed, and the same user, shortly after. A client that
    /// binds again and again then causes no write and no request to a homeserver.
    pub fn repeats(&self, earlier: &Self) -> bool {
        earlier.mxid == self.mxid
            && earlier.threepid == self.threepid
            && earlier.threepid.typed() == self.threepid.typed()
            && earlier.is_valid(self.ts)
            && self.ts.since(earlier.ts) < REPEATED
    }

    /// The members that are signed (specification, `POST /3pid/bind`).
    pub fn to_json(&self) -> Map<String, Value> {
        let members = [
            ("address", json!(self.threepid.address().as_str())),
            ("medium", json!(self.threepid.medium().as_str())),
            ("mxid", json!(self.mxid.as_str())),
            ("ts", json!(self.ts)),
            ("not_before", json!(self.not_before)),
            ("not_after", json!(self.not_after)),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;
    use shared::clock::Timestamp;

    use super::Association;
    use crate::domain::mxid::UserId;
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::signing::{SigningKey, decode_key};

    fn association(now: Timestamp, validity: Duration) -> Association {
        let threepid = ThreePid::canonical(Medium::Email, "Bob@Example.com").unwrap();
        Association::new(threepid, UserId::parse("@bob:hs.example").unwrap(), now, validity)
    }

    #[test]
    fn it_is_valid_from_not_before_to_not_after_inclusive() {
        let (start, hour, moment) =
            (Timestamp::from_millis(1_750_000_000_000), Duration::from_secs(3600), Duration::from_millis(1));
        let association = association(start, hour);
        assert!(association.is_valid(start) && association.is_valid(start.plus(hour)));
        let later = Association { not_before: start.plus(moment), ..association.clone() };
        assert!(!later.is_valid(start) && !association.is_valid(start.plus(hour + moment)));
        assert!(association.is_valid(start.minus(moment)), "the clock was set back");
    }

    #[test]
    fn a_signed_association_equals_the_known_vector() {
        let association = association(Timestamp::from_millis(1_750_000_000_000), Duration::from_secs(36_500 * 86_400));
        let seed = decode_key("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
        let mut signed = association.to_json();
        SigningKey::from_seed("0", &seed).unwrap().sign("id.example.org", &mut signed).unwrap();
        let expected = r#"{"address":"bob@example.com","medium":"email","mxid":"@bob:hs.example","not_after":4903600000000,
            "not_before":1750000000000,"ts":1750000000000,"signatures":{"id.example.org":{"ed25519:0":
            "w1XTh/JIjcRc9bwC9G4qwH2H6vPrzftpUxsrBbBw+yWI606NuYO5cKuXOQdrNWxzWMilza5O9SPiJJ9S4n9dAw"}}}"#;
        assert_eq!(Value::Object(signed), serde_json::from_str::<Value>(expected).unwrap());
    }
}
