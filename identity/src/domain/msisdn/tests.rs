//! Tests of how telephone numbers are read, with the table that Google's libphonenumber made.
//!
//! Invariant: the table's expectations come from `tests/numbers/make_table.py`, never from the code under test.

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use rlibphonenumber::PHONE_NUMBER_UTIL;

use super::{InvalidMsisdn, Msisdn, NumberError, NumberRules, NumberType, Require, canonical};

const TABLE: &str = include_str!("../../../../tests/numbers/numbers.tsv");

fn rules(require: Require, reject_types: &[NumberType]) -> NumberRules {
    NumberRules { require, reject_types: reject_types.to_vec() }
}

fn default_rules() -> NumberRules {
    rules(Require::Possible, &[NumberType::PremiumRate, NumberType::SharedCost])
}

fn dialled(typed: &str, country: &str) -> Result<Msisdn, NumberError> {
    Msisdn::dialled(typed, country, &default_rules())
}

fn digits(typed: &str, country: &str) -> Result<String, NumberError> {
    dialled(typed, country).map(|number| number.digits().to_owned())
}

/// A row of the table.
struct Row {
    typed: String,
    country: &'static str,
    expected: &'static str,
    international: &'static str,
    region: &'static str,
    shows: &'static str,
}

fn table() -> Vec<Row> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("typed\tcountry\texpected\tinternational\tregion\tshows"));
    let row = |line: &'static str| {
        let [typed, country, expected, international, region, shows] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("six columns: {line}"));
        Row { typed: serde_json::from_str(typed).unwrap(), country, expected, international, region, shows }
    };
    lines.map(row).collect()
}

#[test]
fn every_number_of_the_table_is_read_as_by_libphonenumber() {
    let mut wrong = Vec::new();
    for Row { typed, country, expected, international, region, shows } in table() {
        let found = match dialled(&typed, country) {
            Ok(number) => (
                number.digits().to_owned(),
                number.international().to_owned(),
                number.region().unwrap_or_default().to_owned(),
            ),
            Err(NumberError::Invalid) => ("invalid".to_owned(), String::new(), String::new()),
            Err(NumberError::Rejected) => ("rejected".to_owned(), String::new(), String::new()),
        };
        if found != (expected.to_owned(), international.to_owned(), region.to_owned()) {
            wrong.push(format!(
                "{typed:?} in {country:?} ({shows}): {found:?}, not {expected:?} {international:?} {region:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_numbers_of_many_countries_with_each_outcome() {
    let rows = table();
    let countries: std::collections::BTreeSet<_> = rows.iter().map(|row| row.country.to_uppercase()).collect();
    assert!(rows.len() >= 450 && countries.len() >= 120, "{} of {}", rows.len(), countries.len());
    let count = |outcome: &str| rows.iter().filter(|row| row.expected == outcome).count();
    assert!(count("invalid") >= 100 && count("rejected") >= 60);
}

#[test]
fn the_international_form_leads_to_the_dialled_number() {
    for Row { expected, international, shows, .. } in table().into_iter().filter(|row| !row.international.is_empty()) {
        for form in [expected, international, &format!("+{expected}")] {
            assert_eq!(canonical(form).as_deref(), Ok(expected), "{form}: {shows}");
        }
    }
    for (typed, expected) in [
        ("+44 (0)7700 900001", "447700900001"),
        ("44 (0) 7700 900001", "447700900001"),
        ("4407700900001", "447700900001"),
        ("+39 (0)2 3661 8300", "390236618300"),
        ("+54 11 15-2345-6789", "5491123456789"),
        // Mobile numbers of Mexico from before 2019.
        ("+52 1 222 123 4567", "522221234567"),
        ("5215541637145", "525541637145"),
        ("+52 044 55 4163 7145", "525541637145"),
        ("541115 23456789", "5491123456789"),
        ("+7 8 912 345 67 89", "79123456789"),
        ("+36 06 20 123 4567", "36201234567"),
        ("\u{202A}+44 7700 900001\u{202C}", "447700900001"),
        ("٤٤٧٧٠٠٩٠٠٠٠١", "447700900001"),
    ] {
        assert_eq!(canonical(typed).as_deref(), Ok(expected), "{typed}");
    }
}

#[test]
fn a_number_outside_every_plan_is_its_bare_digits() {
    for (typed, expected) in [
        ("12345", "12345"),
        ("+12345", "12345"),
        ("123456789012345", "123456789012345"),
        ("+999 (12) 345.678/9", "999123456789"),
        // A number of Ivory Coast from before 2021.
        ("+225 07 12 34 56", "22507123456"),
        // With a zero too many, and with an eight too many.
        ("+44 00 770090000", "4400770090000"),
        ("+375 8 8489006924", "37588489006924"),
    ] {
        assert_eq!(canonical(typed).as_deref(), Ok(expected), "{typed}");
        assert_eq!(canonical(expected).as_deref(), Ok(expected), "{typed}");
    }
}

#[test]
fn a_number_without_international_form_has_no_canonical_form() {
    let zeros = "0".repeat(40);
    let far = format!("+447700900001{}", " ".repeat(60));
    for typed in [
        "",
        "+",
        "+44",
        "12",
        "999",
        "1234",
        "abc",
        "07700900001",
        "+07700900001",
        "(0)7700 900001",
        "07700900001 ext 5",
        "+447700900001;ext=5",
        "tel:+447700900001",
        "+34 (0)612 34 56 78",
        "+225 (07) 12 34 56",
        "++447700900001",
        "44+7700900001",
        "1234567890123456",
        "+49 1512 3456789012",
        "0041446681800",
        "447700900001\n",
        "447700900001\0",
        "\t447700900001",
        zeros.as_str(),
        far.as_str(),
    ] {
        assert_eq!(canonical(typed), Err(InvalidMsisdn), "{typed:?}");
    }
}

#[test]
fn a_number_without_a_plus_belongs_to_the_country_unless_that_is_impossible() {
    for (typed, country, expected) in [
        // It is not possible in the US, so the plus is missing.
        ("447700900001", "US", Ok("447700900001")),
        // Assigned in the country, so a plus is not considered: Washington, not Cairo; and a German mobile number.
        ("2025550123", "US", Ok("12025550123")),
        ("15201234567", "DE", Ok("4915201234567")),
        // Assigned abroad alone: ambiguous.
        ("447911123456", "AT", Err(NumberError::Invalid)),
        ("3225550123", "US", Err(NumberError::Invalid)),
        ("+447911123456", "AT", Ok("447911123456")),
        ("0447911123456", "AT", Ok("43447911123456")),
        ("13225550123", "US", Ok("13225550123")),
        // Assigned nowhere: a number of the country.
        ("7700900001", "GB", Ok("447700900001")),
    ] {
        assert_eq!(digits(typed, country), expected.map(str::to_owned), "{typed} in {country}");
    }
}

#[test]
fn valid_requires_an_assigned_range() {
    let strict = rules(Require::Valid, &[]);
    for (typed, country, possible, valid) in [
        ("07700900001", "GB", true, false),
        ("07400 123456", "GB", true, true),
        ("13225550123", "US", true, false),
        ("2015550123", "US", true, true),
        ("999", "GB", false, false),
    ] {
        assert_eq!(dialled(typed, country).is_ok(), possible, "{typed}");
        assert_eq!(Msisdn::dialled(typed, country, &strict).is_ok(), valid, "{typed}");
    }
}

#[test]
fn the_operator_excludes_types_of_numbers() {
    for (typed, country, number_type) in [
        ("0121 234 5678", "GB", NumberType::FixedLine),
        ("07400 123456", "GB", NumberType::Mobile),
        ("(201) 555-0123", "US", NumberType::FixedLineOrMobile),
        ("0800 123 4567", "GB", NumberType::TollFree),
        ("0901 234 5678", "GB", NumberType::PremiumRate),
        ("0180 1 2345", "DE", NumberType::SharedCost),
        ("056 1234 5678", "GB", NumberType::Voip),
        ("070 1234 5678", "GB", NumberType::PersonalNumber),
        ("076 4012 3456", "GB", NumberType::Pager),
        ("055 1234 5678", "GB", NumberType::Uan),
        ("0177 99 1234567", "DE", NumberType::Voicemail),
    ] {
        let with = |reject_types: &[NumberType]| {
            Msisdn::dialled(typed, country, &rules(Require::Possible, reject_types)).map(|_| ())
        };
        assert_eq!(with(&[]), Ok(()), "{typed}");
        assert_eq!(with(&[number_type]), Err(NumberError::Rejected), "{typed}");
        let others = NumberType::ALL.into_iter().filter(|&other| other != number_type).collect::<Vec<_>>();
        assert_eq!(with(&others), Ok(()), "{typed}");
    }
}

#[test]
fn a_number_has_its_country_and_debug_output_hides_it() {
    let jamaica = dialled("876 210 1234", "US").unwrap();
    assert_eq!((jamaica.calling_code(), jamaica.region()), ("1", Some("JM")));
    assert_eq!((jamaica.digits(), jamaica.international()), ("18762101234", "+1 876-210-1234"));
    let london = dialled("020 7946 0018", "GB").unwrap();
    assert_eq!((london.calling_code(), london.region()), ("44", Some("GB")));
    // Reserved for films, so none of the four countries with this code has assigned it.
    assert_eq!(dialled("07700 900001", "GB").unwrap().region(), None);
    assert_eq!(dialled("+80012345678", "GB").unwrap().region(), None);
    assert_eq!(format!("{jamaica:?}"), "Msisdn(***)");
    for (typed, country) in [("0901 234 5678", "GB"), ("999", "GB")] {
        let error = dialled(typed, country).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(|c: char| c.is_ascii_digit()), "{error}");
    }
}

fn country() -> impl Strategy<Value = String> {
    let mut regions: Vec<_> = PHONE_NUMBER_UTIL.get_supported_regions().map(|region| region.to_string()).collect();
    regions.sort();
    assert!(regions.len() > 240, "{}", regions.len());
    select(regions)
}

/// Digits as users and attackers type them, and texts with other characters between them.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[+]?[0-9]{1,20}",
        "[+]?(0|00|011|1|44|49|39|52|54|7|225|800){1,2}[0-9]{2,12}",
        "[ (+]{0,2}[0-9 ()./\u{A0}\u{2013}-]{1,30}",
        "[+]?[0-9٠-٩０-９ ()x;,#*:\u{0}\n-]{1,30}",
        "(tel:)?[+]?[0-9]{2,9}(;phone-context=|;ext=|tel:|x)[+]?[0-9a-z.]{0,9}(tel:)?[0-9]{0,9}",
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_form_of_a_canonical_form_is_itself(typed in text()) {
        if let Ok(once) = canonical(&typed) {
            prop_assert!((5..=15).contains(&once.len()) && once.bytes().all(|b| b.is_ascii_digit()), "{once}");
            prop_assert!(!once.starts_with('0'), "{once}");
            prop_assert_eq!(canonical(&once), Ok(once.clone()));
            prop_assert_eq!(canonical(&format!("+{once}")), Ok(once));
        }
    }

    #[test]
    fn every_dialled_number_has_one_canonical_form(typed in text(), country in country()) {
        if let Ok(number) = dialled(&typed, &country) {
            let digits = number.digits();
            prop_assert_eq!(canonical(digits), Ok(digits.to_owned()));
            prop_assert_eq!(canonical(number.international()), Ok(digits.to_owned()));
            let again = dialled(&format!("+{digits}"), &country);
            prop_assert_eq!(again.as_ref().map(Msisdn::digits), Ok(digits));
            prop_assert!(digits.starts_with(number.calling_code()));
        }
    }

    #[test]
    fn letters_and_control_characters_are_never_part_of_a_number(
        before in "[+]?[0-9]{0,6}",
        stranger in "[a-zA-Zéß\u{0}-\u{1F}\u{7F}-\u{9F}\u{2028}\u{2029}*#;,:x]",
        after in "[0-9]{0,6}",
        country in country(),
    ) {
        let typed = format!("{before}{stranger}{after}");
        prop_assert_eq!(digits(&typed, &country), Err(NumberError::Invalid));
        prop_assert_eq!(canonical(&typed), Err(InvalidMsisdn));
    }
}

#[test]
fn a_plus_makes_the_country_irrelevant() {
    for (typed, expected) in [
        ("+81 03 1234 5678", "81312345678"),
        ("+44 7700 900001", "447700900001"),
        ("+52 1 55 4163 7145", "525541637145"),
        ("+1 600 123 4567", "16001234567"),
    ] {
        for country in ["JP", "BY", "RU", "KZ", "GB", "US", "MX", "DE", "AU", "TH"] {
            assert_eq!(digits(typed, country).as_deref(), Ok(expected), "{typed} in {country}");
        }
    }
}

#[test]
fn the_old_forms_of_mexico_are_read_in_the_country_too() {
    for typed in ["55 4163 7145", "044 55 4163 7145", "045 55 4163 7145", "01 55 4163 7145", "1 55 4163 7145"] {
        assert_eq!(digits(typed, "MX").as_deref(), Ok("525541637145"), "{typed}");
    }
}
