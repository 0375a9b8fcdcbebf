//! An address as strangers may see it: the `display_name` of `store-invite`.
//!
//! Invariant: what is shown of each half is a beginning of it and never the whole.

/// The address with `...` for the rest of each half: `n` characters of a half that has more, 3 of one that has more than
/// 5, 1 of one that has more than 1, none otherwise. `address` is as it was given.
pub fn redacted(address: &str, show_local_chars: usize, show_domain_chars: usize) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => {
            format!("{}@{}", beginning(local, show_local_chars), beginning(domain, show_domain_chars))
        }
        None => beginning(address, show_local_chars),
    }
}

fn beginning(half: &str, n: usize) -> String {
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

    use super::redacted;

    #[test]
    fn each_half_shows_its_beginning() {
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
            assert_eq!(redacted(address, local, domain), shown, "{local}/{domain} {address}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_half_is_ever_shown_whole(local in "\\PC{1,40}", domain in "\\PC{1,40}", m in 0..50_usize, n in 0..50_usize) {
            prop_assume!(!local.contains('@') && !domain.contains('@'));
            let shown = redacted(&format!("{local}@{domain}"), m, n);
            let (first, second) = shown.split_once('@').unwrap();
            for (half, shown) in [(local, first), (domain, second)] {
                let beginning = shown.strip_suffix("...").unwrap();
                prop_assert!(half.starts_with(beginning) && beginning.len() < half.len());
            }
        }
    }
}
