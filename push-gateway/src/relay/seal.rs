//! The sealed token in the URL of a push resource: a device token and the application server's key, encrypted by the gateway.
//!
//! Invariant: a token opens only with the app for which it was sealed. The key of the application server is inside, so that a
//! person who knows the device token cannot replace it, and a restart cannot lose it.

use std::fmt;
use std::ops::RangeInclusive;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The first byte of every sealed token.
const VERSION: u8 = 1;
/// Before the app in the associated data.
const CONTEXT: &[u8] = b"wp1\0";
/// Of AES-256.
const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Version, number of the key and nonce.
const HEAD: usize = 2 + NONCE;
/// The longest token in the URL, in characters.
const LONGEST: usize = 1024;

/// Of SHA-256.
const DIGEST: usize = 32;
/// Instead of a digest, in a URL for every application server.
pub(crate) const ANY_KEY: [u8; DIGEST] = [0; DIGEST];

/// The kind of the device token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Apns = 1,
    Fcm = 2,
}

impl Kind {
    /// The kind of the device tokens of an app of this type.
    pub(crate) fn of_type(type_name: &str) -> Option<Self> {
        [Self::Apns, Self::Fcm].into_iter().find(|kind| kind.type_name() == type_name)
    }

    /// The type of the apps whose devices have such a token.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
        }
    }

    /// How long the push service stores a message at most, of `ttl` seconds.
    pub(crate) fn ttl(self, ttl: u32) -> u32 {
        const DAY: u32 = 24 * 60 * 60;
        ttl.min(match self {
            Self::Apns => 30 * DAY,
            Self::Fcm => 28 * DAY,
        })
    }

    /// The lengths of a device token in bytes.
    pub(crate) fn lengths(self) -> RangeInclusive<usize> {
        match self {
            Self::Apns => 32..=100,
            Self::Fcm => 1..=512,
        }
    }
}

/// What a token contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) kind: Kind,
    /// SHA-256 of the application server's key in uncompressed form; zeroes: any key.
    pub(crate) digest: [u8; DIGEST],
    /// In minutes since the Unix epoch.
    pub(crate) created: u32,
    /// The client's own name for the account.
    pub(crate) chid: String,
    /// The raw bytes of a device token of Apple, or the text of a registration of Firebase.
    pub(crate) device_token: Vec<u8>,
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// It was not made by a gateway with these keys for this app.
    Invalid,
    /// The operator has ended the use of its key.
    Retired,
    /// No key has its number: the gateway's keys may be lost.
    UnknownKey,
}

/// `[relay] seal_keys` and `retired_seal_keys`.
pub(crate) struct SealKeys {
    /// The first one seals.
    keys: Vec<(u8, LessSafeKey)>,
    retired: Vec<u8>,
}

/// Why keys are unusable; no part of a key is in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKeys {
    #[error("expected at least one key; `push-gateway generate-seal-key` prints one")]
    None,
    #[error(
        "expected \"<number>:<base64 of 32 bytes>\" with a number from 1 to 255; `push-gateway generate-seal-key` prints one"
    )]
    Form,
    #[error("two keys have the number {0}")]
    Twice(u8),
    #[error("the key {0} is retired and in use")]
    RetiredInUse(u8),
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key in the form of the configuration.
pub(crate) fn line(number: u8, key: &[u8; KEY]) -> String {
    format!("{number}:{}", STANDARD.encode(key))
}

impl SealKeys {
    /// Reads keys of the form `<number>:<base64 of 32 bytes>`.
    ///
    /// # Errors
    /// [`InvalidKeys`].
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>, retired: &[u8]) -> Result<Self, InvalidKeys> {
        let mut keys: Vec<(u8, LessSafeKey)> = Vec::new();
        for line in lines {
            let (number, key) = line.trim().split_once(':').ok_or(InvalidKeys::Form)?;
            let number = number.parse().ok().filter(|number| *number > 0).ok_or(InvalidKeys::Form)?;
            let key = Zeroizing::new(STANDARD.decode(key.trim()).map_err(|_| InvalidKeys::Form)?);
            let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| InvalidKeys::Form)?;
            if keys.iter().any(|(other, _)| *other == number) {
                return Err(InvalidKeys::Twice(number));
            }
            if retired.contains(&number) {
                return Err(InvalidKeys::RetiredInUse(number));
            }
            keys.push((number, LessSafeKey::new(key)));
        }
        if keys.is_empty() { Err(InvalidKeys::None) } else { Ok(Self { keys, retired: retired.to_vec() }) }
    }

    /// The token for `app`; `nonce` is random.
    pub(crate) fn seal(&self, app: &str, sealed: &Sealed, nonce: [u8; NONCE]) -> String {
        let (number, key) = &self.keys[0];
        let mut token = sealed.to_bytes();
        let added = key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(app), &mut token);
        // Fails only for gigabytes.
        debug_assert!(added.is_ok());
        let head = [&[VERSION, *number], &nonce[..]].concat();
        URL_SAFE_NO_PAD.encode([head, token].concat())
    }

    /// Opens the token of a URL for `app`.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub(crate) fn open(&self, app: &str, token: &str) -> Result<Sealed, NotOpened> {
        if token.len() > LONGEST {
            return Err(NotOpened::Invalid);
        }
        // Strict: a token has one spelling.
        let mut bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| NotOpened::Invalid)?;
        if bytes.len() < HEAD + TAG || bytes[0] != VERSION || bytes[1] == 0 {
            return Err(NotOpened::Invalid);
        }
        let (head, sealed) = bytes.split_at_mut(HEAD);
        let number = head[1];
        let Some((_, key)) = self.keys.iter().find(|(known, _)| *known == number) else {
            let is_retired = self.retired.contains(&number);
            return Err(if is_retired { NotOpened::Retired } else { NotOpened::UnknownKey });
        };
        let nonce = Nonce::try_assume_unique_for_key(&head[2..]).map_err(|_| NotOpened::Invalid)?;
        let plain = key.open_in_place(nonce, aad(app), sealed).map_err(|_| NotOpened::Invalid)?;
        Sealed::from_bytes(plain).ok_or(NotOpened::Invalid)
    }
}

fn aad(app: &str) -> Aad<Vec<u8>> {
    Aad::from([CONTEXT, app.as_bytes()].concat())
}

impl Sealed {
    fn to_bytes(&self) -> Vec<u8> {
        let chid = self.chid.as_bytes();
        // A `chid` has at most 64 characters.
        let length = u8::try_from(chid.len()).unwrap_or_default();
        let parts: [&[u8]; 6] =
            [&[self.kind as u8], &self.digest, &self.created.to_be_bytes(), &[length], chid, &self.device_token];
        parts.concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let kind = match kind {
            1 => Kind::Apns,
            2 => Kind::Fcm,
            _ => return None,
        };
        let (digest, rest) = rest.split_first_chunk::<DIGEST>()?;
        let (created, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first()?;
        let (chid, device_token) = rest.split_at_checked(usize::from(*length))?;
        let chid = std::str::from_utf8(chid).ok()?.to_owned();
        let created = u32::from_be_bytes(*created);
        Some(Self { kind, digest: *digest, created, chid, device_token: device_token.to_vec() })
    }

    /// Whether the URL is that of the application server with this digest of its key.
    pub(crate) fn allows(&self, digest: &[u8; DIGEST]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(digest, &self.digest).is_ok()
    }

    /// Whether the URL is for every application server.
    pub(crate) fn is_for_any_key(&self) -> bool {
        self.digest == ANY_KEY
    }
}

/// The digest of an application server's key in uncompressed form.
pub(crate) fn digest(application_server_key: &[u8]) -> [u8; DIGEST] {
    Sha256::digest(application_server_key).into()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::{InvalidKeys, Kind, NotOpened, SealKeys, Sealed, digest};

    const APP: &str = "com.example.app.ios";
    const IOS: &str = "AQFAQUJDREVGR0hJSkvj7EyH-Kh9dT5K6onzz116VgASxRCby2oOBrQKuTr7lyUJggg2vb43QsWrzjOue39t1gKYmWxOpC-1ZLWVWZx1U\
                       qRtE75llxfpftByrSX4-3DvRfJuHLFajSw";
    const FCM: &str = "AQFAQUJDREVGR0hJSkvg7EyH-Kh9dT5K6onzz116VgASxRCby2oOBrQKuTr7lyUJggg2ubk3TNl_APposeCKIesIAqWnceB3pGhCtRjx1\
                       iDhnzLpE5N6oAHm8h2aDyYRON8wYMvtSi-Zeuy24du9XkE";
    /// The application server's key of RFC 8292, section 2.4.
    const KEY: &str = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

    fn line(number: u8, first: u8) -> String {
        super::line(number, &std::array::from_fn(|at| first + u8::try_from(at).unwrap()))
    }

    fn keys(lines: &[String], retired: &[u8]) -> SealKeys {
        SealKeys::parse(lines.iter().map(String::as_str), retired).unwrap()
    }

    fn nonce() -> [u8; 12] {
        std::array::from_fn(|at| 0x40 + u8::try_from(at).unwrap())
    }

    fn key() -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(KEY).unwrap()
    }

    fn ios() -> Sealed {
        let digest = URL_SAFE_NO_PAD.decode("VeKk3pT6dvOO_b9oq04hL8ZAmaeuxEl5QfrvLikWTL0").unwrap().try_into().unwrap();
        let device_token = (0xa0..0xc0).collect();
        Sealed { kind: Kind::Apns, digest, created: 24_225_000, chid: "acc1".to_owned(), device_token }
    }

    #[test]
    fn the_tokens_of_two_devices_are_the_expected_ones() {
        let keys = keys(&[line(1, 0)], &[]);
        assert_eq!(keys.seal(APP, &ios(), nonce()), IOS);
        assert_eq!(keys.open(APP, IOS), Ok(ios()));
        let device_token = b"fcm-token:APA91bExample_0123456789-abcdefghij".to_vec();
        let fcm = Sealed { kind: Kind::Fcm, chid: String::new(), device_token, ..ios() };
        assert_eq!(keys.seal("com.example.app.android", &fcm, nonce()), FCM);
        assert_eq!(keys.open("com.example.app.android", FCM), Ok(fcm));
        assert!(ios().allows(&digest(&key())) && !ios().allows(&digest(&key()[1..])) && !ios().is_for_any_key());
    }

    #[test]
    fn a_token_with_another_character_or_app_does_not_open() {
        let keys = keys(&[line(1, 0)], &[]);
        for at in 0..IOS.len() {
            let other = if IOS.as_bytes()[at] == b'A' { "B" } else { "A" };
            let changed = format!("{}{other}{}", &IOS[..at], &IOS[at + 1..]);
            // The second byte, the number of the key, is in the second and the third character.
            let expected = if URL_SAFE_NO_PAD.decode(&changed).is_ok_and(|bytes| bytes[0] == 1 && bytes[1] > 1) {
                NotOpened::UnknownKey
            } else {
                NotOpened::Invalid
            };
            assert_eq!(keys.open(APP, &changed), Err(expected), "{at}");
        }
        for (app, token) in [
            ("com.example.app.android", IOS.to_owned()),
            (APP, IOS[..IOS.len() - 1].to_owned()),
            (APP, IOS.repeat(2)),
            (APP, format!("{IOS}=")),
            (APP, "..".to_owned()),
            (APP, String::new()),
            (APP, "A".repeat(5_000)),
        ] {
            assert_eq!(keys.open(app, &token), Err(NotOpened::Invalid), "{token}");
        }
    }

    #[test]
    fn a_new_key_seals_and_old_ones_open_until_they_are_retired() {
        let both = keys(&[line(2, 7), line(1, 0)], &[]);
        let new = both.seal(APP, &ios(), nonce());
        assert_ne!(new, IOS);
        assert_eq!(both.open(APP, IOS), both.open(APP, &new));
        assert_eq!(keys(&[line(2, 7)], &[1]).open(APP, IOS), Err(NotOpened::Retired));
        assert_eq!(keys(&[line(2, 7)], &[]).open(APP, IOS), Err(NotOpened::UnknownKey));
    }

    #[test]
    fn keys_in_another_form_are_refused() {
        let error = |lines: &[String], retired: &[u8]| {
            SealKeys::parse(lines.iter().map(String::as_str), retired).err().unwrap()
        };
        assert_eq!(error(&[], &[]), InvalidKeys::None);
        assert_eq!(error(&[line(1, 0), line(1, 1)], &[]), InvalidKeys::Twice(1));
        assert_eq!(error(&[line(1, 0)], &[1]), InvalidKeys::RetiredInUse(1));
        for wrong in
            [line(0, 0), "256:AAAA".to_owned(), "1:AAAA".to_owned(), "AAAA".to_owned(), line(1, 0)[2..].to_owned()]
        {
            assert_eq!(error(&[wrong], &[]), InvalidKeys::Form);
        }
    }
}
