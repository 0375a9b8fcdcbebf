//! Numbers, senders, texts, codes.

use crate::sms::form::Form;
use crate::sms::rules::{e164, is_gsm, is_name, is_number, is_short_code, segments};
use crate::sms::tests::sms;

#[test]
fn numbers_and_senders_are_what_the_standards_say() {
    for (text, expected) in [("447700900001", true), ("+447700900001", false), ("07700900001", false), ("12", false)] {
        assert_eq!(is_number(text), expected, "{text}");
    }
    assert!(!is_number("1234567890123456") && !is_number("44 7700900001"));
    assert_eq!(e164("+447700900001"), Some("447700900001"));
    for text in ["447700900001", "++447700900001", "+0447700900001", "+44-7700-900001", " 447700900001"] {
        assert_eq!(e164(text), None, "{text}");
    }
    assert!(is_short_code("12345") && !is_short_code("12") && !is_short_code("123456789"));
    for (name, expected) in [("Matrix", true), ("A1234567890", true), ("My Matrix", true), ("Matrix-Codes", false)] {
        assert_eq!(is_name(name, " "), expected, "{name}");
    }
    assert!(!is_name("12345", " ") && !is_name("", " ") && !is_name("Größe", " ") && !is_name("My Matrix", ""));
}

#[test]
fn a_text_takes_as_many_messages_as_the_alphabet_makes_it() {
    assert!(is_gsm("@£ÆØ Ünder €5 {123456} [a]~|^\\\n") && !is_gsm("ваш код") && !is_gsm("’") && !is_gsm("ç"));
    for (text, is_ucs2, expected) in [
        ("a".repeat(160), false, 1),
        ("a".repeat(161), false, 2),
        ("€".repeat(80), false, 1),
        ("€".repeat(81), false, 2),
        ("я".repeat(70), true, 1),
        ("я".repeat(71), true, 2),
        ("😀".repeat(35), true, 1),
        ("😀".repeat(36), true, 2),
        ("a".repeat(307), false, 3),
    ] {
        assert_eq!(segments(&text, is_ucs2), expected, "{text}");
    }
}

#[test]
fn a_form_is_read_strictly() {
    let form = Form::parse(b"To=%2B44&Body=%D0%BA+%e2%82%ac%20a-b_c.d%7E&empty=").unwrap();
    assert_eq!(form.field("To"), Some("+44"));
    assert_eq!(form.field("Body"), Some("к € a-b_c.d~"));
    assert_eq!((form.field("empty"), form.field("none")), (Some(""), None));
    for bad in ["a", "a=%", "a=%4", "a=%+4", "a=%zz", "a=é", "a=b c", "a=b@c", "a=%FF", "a={b}"] {
        assert!(Form::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let mut complaints = Vec::new();
    Form::parse(b"to=1&To=2&to=3").unwrap().complain_of_strangers(|name| name == "to", &mut complaints);
    assert_eq!(complaints, ["no such parameter: To", "twice: to"]);
}

#[test]
fn a_code_is_the_one_run_of_six_to_eight_digits() {
    assert_eq!(sms("", "", "Your Matrix code: 012345.").code(), "012345");
    assert_eq!(sms("", "", "G-12345678 (valid 10 minutes)").code(), "12345678");
    for text in ["none", "12345", "123456789", "123456 or 654321"] {
        assert!(std::panic::catch_unwind(|| sms("", "", text).code()).is_err(), "{text}");
    }
}
