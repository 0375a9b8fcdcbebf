//! E-mail addresses: which are valid, their canonical form, and the recipient of a mail.
//!
//! Invariant: the recipient of a mail is the form that was checked. Look-alike letters never lead two addresses with one
//! canonical form to mailboxes of different owners.

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::case_folding::fold;

/// The longest address in octets (RFC 5321 4.5.3.1.3 without the angle brackets).
const MAX_ADDRESS: usize = 254;
/// The longest local part in octets (RFC 5321 4.5.3.1.1).
const MAX_LOCAL_PART: usize = 64;

/// The text is not a valid e-mail address. The error does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address that can be used here: {0}")]
pub struct InvalidEmail(&'static str);

/// The form in which an address is stored, compared and hashed: `typed`, case-folded, with the U-labels of its domain, and
/// otherwise unchanged.
///
/// # Errors
/// [`InvalidEmail`] unless both `typed` and its folded form are atoms and dots, one `@` and one domain of at most 254
/// octets, 64 of them before the `@`. A domain is made of LDH or valid IDNA labels.
pub fn canonical(typed: &str) -> Result<String, InvalidEmail> {
    check_form(typed)?;
    let folded = fold(typed);
    let (local, domain) = check_form(&folded)?;
    let ascii = a_labels(domain)?;
    let labels: Vec<Cow<'_, str>> = domain.split('.').zip(ascii.split('.')).map(|(own, a)| u_label(own, a)).collect();
    let address = format!("{local}@{}", labels.join("."));
    check_form(&address)?;
    Ok(address)
}

/// The address with its domain in A-labels; `None` if it has them already.
pub fn ascii_form(canonical: &str) -> Option<String> {
    let (local, domain) = canonical.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii())?;
    Some(format!("{local}@{}", a_labels(domain).ok()?))
}

/// The folded U-label of a folded label, whose A-label is `ascii`; DNS knows one composition of its characters. An A-label
/// stays if its U-label folds to another domain (`straße` and `strasse`): mail for it must not reach the owner of that
/// domain, nor the other way round.
fn u_label<'a>(own: &'a str, ascii: &str) -> Cow<'a, str> {
    if !ascii.starts_with("xn--") {
        return Cow::Borrowed(own);
    }
    let (decoded, is_valid) = idna::domain_to_unicode(ascii);
    let folded = fold(&decoded);
    let is_same = is_valid.is_ok() && a_labels(&folded).is_ok_and(|again| again == ascii);
    if is_same { Cow::Owned(folded) } else { Cow::Borrowed(own) }
}

/// The recipient of mail for an address: as typed if that is pure ASCII, else the canonical form.
///
/// The owner of `x@straße.example` could otherwise claim `x@strasse.example`, to which it folds.
pub fn recipient<'a>(typed: &'a str, canonical: &'a str) -> &'a str {
    if typed.is_ascii() { typed } else { canonical }
}

/// Checks everything but the labels of the domain, and returns local part and domain.
fn check_form(address: &str) -> Result<(&str, &str), InvalidEmail> {
    if address.len() > MAX_ADDRESS {
        return Err(InvalidEmail("it is too long"));
    }
    if address.chars().any(is_invisible) {
        return Err(InvalidEmail("it has white space, control or direction characters"));
    }
    let (local, domain) = address.split_once('@').ok_or(InvalidEmail("it has no @"))?;
    if domain.contains('@') {
        return Err(InvalidEmail("it has more than one @"));
    }
    if local.is_empty() || local.len() > MAX_LOCAL_PART {
        return Err(InvalidEmail("the part before the @ is empty or too long"));
    }
    // Dots anywhere: Japanese carriers gave out `a..b@` and `a.@`.
    if !local.chars().all(|c| c == '.' || is_atext(c)) || local.chars().all(|c| c == '.') {
        return Err(InvalidEmail("the part before the @ has other characters than those of atoms"));
    }
    Ok((local, domain))
}

/// A character of an atom (RFC 5322 3.2.3 with RFC 6531), except `!` and `%`, which old relays read as a route.
fn is_atext(c: char) -> bool {
    !c.is_ascii() || c.is_ascii_alphanumeric() || "#$&'*+-/=?^_`{|}~".contains(c)
}

/// Control characters (C0, DEL, C1), white space, zero-width characters and direction marks.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        // Unicode's Default_Ignorable_Code_Point: invisible, so two addresses would look the same.
        || matches!(c, '\u{AD}' | '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}')
        || matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}')
        || matches!(c, '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{E0000}'..='\u{E0FFF}')
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether a parser may read the domain as an IPv4 address (WHATWG URL, "ends in a number"): `127.1`, `0x7f.1`.
fn ends_in_a_number(ascii: &str) -> bool {
    let last = ascii.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

/// The domain as A-labels (UTS #46, non-transitional, STD3 rules, DNS lengths).
fn a_labels(domain: &str) -> Result<String, InvalidEmail> {
    const WRONG: InvalidEmail = InvalidEmail("the domain is not valid");
    // UTS #46 reads other dots as ASCII dots; such a dot must not create a hidden label.
    let ascii = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| WRONG)?;
    if ascii.split('.').count() != domain.split('.').count() || ends_in_a_number(&ascii) {
        return Err(WRONG);
    }
    // A label in other letters (full width, circled, soft hyphens) that maps to plain ASCII names a different domain than
    // the one shown.
    let is_as_shown =
        domain.split('.').zip(ascii.split('.')).all(|(shown, real)| shown.is_ascii() || real.starts_with("xn--"));
    if is_as_shown { Ok(ascii.into_owned()) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use super::{ascii_form, canonical, recipient};

    #[test]
    fn hostile_addresses_are_rejected() {
        let long_label = format!("a@{}.org", "x".repeat(64));
        let long_local = format!("{}@x.org", "a".repeat(65));
        let at_255 = format!("{}@{}.org", "a".repeat(64), ["x".repeat(61), "y".repeat(61), "z".repeat(61)].join("."));
        assert_eq!(at_255.len(), 254);
        assert!(canonical(&at_255).is_ok());
        let at_255 = at_255.replace(".org", "q.org");
        assert_eq!(at_255.len(), 255);
        let rejected = [
            "a@good.example@bad.example",
            "a@x,b@y",
            "a@x;b@y",
            "<b@y>a@x",
            "a@x (b@y)",
            "g:b@y;",
            "X <a@b>",
            "\"x@y\"@z",
            "mailto:a@b",
            "root",
            "a@",
            "@b",
            "a＠b.c",
            "a@[127.0.0.1]",
            "v%x.org@y",
            "a!b@c",
            "a@x\r\nBcc: b@y",
            "a\0@x.org",
            "a@x.org\0",
            "a@x.org\n",
            "\na@x.org",
            "a@x.org ",
            " a@x.org",
            "",
            "@",
            "a b@x.org",
            "a\u{a0}b@x.org",
            "a\u{85}@x.org",
            "a\u{202e}@x.org",
            "a\u{2066}@x.org",
            "a\u{200b}@x.org",
            ".@x.org",
            "..@x.org",
            "a(b)@x.org",
            "a[b@x.org",
            "a]b@x.org",
            "a:b@x.org",
            "a;b@x.org",
            "a,b@x.org",
            "a\\b@x.org",
            "a<b@x.org",
            "\"a\"@x.org",
            "a@x.org.",
            "a@.x.org",
            "a@x..org",
            "a@-x.org",
            "a@x-.org",
            "a@x_y.org",
            "a@x!y",
            "a@xn--a.org",
            "a@127.0.0.1",
            "a@[IPv6:::1]",
            "a@x。org",
            "a@x．org",
            "a@ｘ.org",
            "a@x\u{ad}y.org",
            "a@①.org",
            "a@x\u{301}-",
            long_label.as_str(),
            long_local.as_str(),
            at_255.as_str(),
        ];
        for address in rejected {
            assert!(canonical(address).is_err(), "{address:?}");
        }
    }

    #[test]
    fn ordinary_and_unusual_addresses_are_accepted() {
        for (typed, expected) in [
            ("a@b", "a@b"),
            ("Alice@Example.COM", "alice@example.com"),
            ("a.b+c=d_e-f/g{h}~'x`y|z?^&*#$@x-y.1.org", "a.b+c=d_e-f/g{h}~'x`y|z?^&*#$@x-y.1.org"),
            ("1@1.com", "1@1.com"),
            ("jürgen@müller.example", "jürgen@müller.example"),
            ("a@XN--MLLER-KVA.example", "a@müller.example"),
            ("a@xn--mller-kva.xn--strae-oqa.example", "a@müller.xn--strae-oqa.example"),
            (".a@x.org", ".a@x.org"),
            ("a.@x.org", "a.@x.org"),
            ("A..b@x.org", "a..b@x.org"),
            ("用户@例子.公司", "用户@例子.公司"),
            ("a@ΐ.example", "a@\u{3b9}\u{308}\u{301}.example"),
            ("a@r3---sn.example", "a@r3---sn.example"),
        ] {
            assert_eq!(canonical(typed).as_deref(), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn a_domain_has_one_form_and_another_spelling() {
        for (typed, one, other) in [
            ("Me@Müller.example", "me@müller.example", Some("me@xn--mller-kva.example")),
            ("me@xn--mller-kva.example", "me@müller.example", Some("me@xn--mller-kva.example")),
            ("me@mu\u{308}ller.example", "me@müller.example", Some("me@xn--mller-kva.example")),
            ("a@xn--e1afmkfd.xn--p1ai", "a@пример.рф", Some("a@xn--e1afmkfd.xn--p1ai")),
            ("a@straße.example", "a@strasse.example", None),
            // Another domain than strasse.example.
            ("a@xn--strae-oqa.example", "a@xn--strae-oqa.example", None),
            ("a@example.org", "a@example.org", None),
        ] {
            let canonical = canonical(typed).unwrap();
            assert_eq!((canonical.as_str(), ascii_form(&canonical).as_deref()), (one, other), "{typed}");
            assert_eq!(super::canonical(&canonical).as_deref(), Ok(one), "{typed}");
        }
    }

    #[test]
    fn an_address_that_folding_makes_too_long_is_rejected() {
        let typed = format!("{}@x.org", "\u{390}".repeat(32));
        assert!(typed.split('@').next().unwrap().len() <= 64);
        assert!(canonical(&typed).is_err());
    }

    #[test]
    fn mail_for_a_look_alike_goes_to_its_canonical_form() {
        for (typed, mailbox) in [
            ("x@straße.example", "x@strasse.example"),
            ("mi\u{212A}e@x.org", "mike@x.org"),
            ("mike@\u{212A}.org", "mike@k.org"),
            ("\u{17F}am@x.org", "sam@x.org"),
            ("Alice@Example.com", "Alice@Example.com"),
            ("JÜRGEN@x.org", "jürgen@x.org"),
        ] {
            let canonical = canonical(typed).unwrap();
            assert_eq!(recipient(typed, &canonical), mailbox);
        }
    }

    #[test]
    fn the_error_does_not_quote_the_address() {
        let error = canonical("alice@@example.com").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("alice"));
    }
}
