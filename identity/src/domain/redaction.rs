//! A redacted address for strangers: the `display_name` of `store-invite`.
//!
//! Invariant: each half shows a prefix, never the whole half.

use super::msisdn::calling_code;
use super::threepid::{Medium, ThreePid};

/// How many characters of each half are shown at most.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub local: usize,
    pub domain: usize,
}

/// The first characters of each half, then `...`: the given number if the half is longer, else 3 of more than 5, 1 of more
/// than 1, or none. `address` is as typed.
pub fn redacted(address: &str, shown: &Shown) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{}", prefix(local, shown.local), prefix(domain, shown.domain)),
        None => prefix(address, shown.local),
    }
}

/// The address for its owner, in mails and pages that others may see: an e-mail address redacted, of a number the calling
/// code and the last three digits.
pub fn masked(threepid: &ThreePid, shown: &Shown) -> String {
    match threepid.medium() {
        Medium::Email => redacted(threepid.recipient(), shown),
        Medium::Msisdn => {
            let number = threepid.address().as_str();
            let (code, end) = (calling_code(number).unwrap_or_default(), number.len().saturating_sub(3));
            format!("+{code}...{}", number.get(end..).unwrap_or_default())
        }
    }
}

fn prefix(half: &str, n: usize) -> String {
    let length = half.chars().count();
    let shown = match length {
        _ if length > n => n,
        6.. => 3,
        2..=5 => 1,
        _ => 0,
    };
    half.chars().take(shown).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Shown, masked, redacted};
    use crate::domain::threepid::{Medium, ThreePid};

    #[test]
    fn each_half_shows_its_prefix() {
        for (local, domain, address, shown) in [
            (3, 3, "alice@example.com", "ali...@exa..."),
            (3, 3, "bob@x.org", "b...@x.o..."),
            (3, 3, "ab@c.d", "a...@c..."),
            (3, 3, "a@b", "...@..."),
            (6, 8, "1234567890@1234567890.com", "123456...@12345678..."),
            (6, 8, "1@1.com", "...@1..."),
            (6, 8, "abcdef@abcdefgh", "abc...@abc..."),
            (10, 20, "alice@example.com", "a...@exa..."),
            (3, 3, "Übergrößen@straße.example", "Übe...@str..."),
            (0, 0, "alice@example.com", "...@..."),
        ] {
            assert_eq!(redacted(address, &Shown { local, domain }), shown, "{local}/{domain} {address}");
        }
    }

    #[test]
    fn a_number_shows_its_calling_code_and_its_end() {
        for (medium, address, expected) in [
            (Medium::Msisdn, "447700900001", "+44...001"),
            (Medium::Msisdn, "18005552067", "+1...067"),
            (Medium::Email, "Alice@Example.com", "Ali...@Exa..."),
        ] {
            let threepid = ThreePid::canonical(medium, address).unwrap();
            assert_eq!(masked(&threepid, &Shown { local: 3, domain: 3 }), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_half_is_ever_shown_whole(local in "\\PC{1,40}", domain in "\\PC{1,40}", m in 0..50_usize, n in 0..50_usize) {
            prop_assume!(!local.contains('@') && !domain.contains('@'));
            let shown = redacted(&format!("{local}@{domain}"), &Shown { local: m, domain: n });
            let (first, second) = shown.split_once('@').unwrap();
            for (half, shown) in [(local, first), (domain, second)] {
                let prefix = shown.strip_suffix("...").unwrap();
                prop_assert!(half.starts_with(prefix) && prefix.len() < half.len());
            }
        }
    }
}
