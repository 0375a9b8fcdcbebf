#!/usr/bin/env python3
"""Makes numbers.tsv, the table of telephone numbers that identity/src/domain/msisdn is tested with.

It states what is expected by Google's libphonenumber in its Python package, with the rules of this project written down
here once more. So it is made without a look at the Rust code, and the test needs neither Python nor a network:

    python3 -m venv /tmp/numbers && /tmp/numbers/bin/pip install phonenumbers==9.0.42
    /tmp/numbers/bin/python tests/numbers/make_table.py

The table was made with phonenumbers 9.0.42, whose numbering plans are those of rlibphonenumber 2.2.15. A newer version
may change rows: look at the difference before you keep it. The numbers are libphonenumber's own examples, those that
regulators set aside for films, and made-up ones.
"""

import json
import pathlib
import unicodedata

import phonenumbers
from phonenumbers import CountryCodeSource, PhoneNumberFormat, PhoneNumberType, ValidationResult

# ---------------------------------------------------------------------------------------------------------------------
# The rules
# ---------------------------------------------------------------------------------------------------------------------

LONGEST_TEXT = 64
LONGEST_NUMBER = 15
LONGEST_SHORT_NUMBER = 6
REJECTED = {PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST}
PLUS = "+\N{FULLWIDTH PLUS SIGN}"
# libphonenumber's punctuation (VALID_PUNCTUATION) without "x" and "~", which may stand for an extension.
PUNCTUATION = set(
    "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30FC\uFF0D\uFF0E\uFF0F \u00A0\u00AD\u200B\u2060\u3000"
    "()\uFF08\uFF09\uFF3B\uFF3D.[]/\u2053\u223C"
)
DIRECTION_MARKS = "\u200E\u200F\u202A\u202B\u202C\u202D\u202E\u2066\u2067\u2068\u2069"


def is_written_well(typed):
    """Digits, one plus before them, and punctuation; no letter, no extension, no control character."""
    if len(typed.encode()) > LONGEST_TEXT:
        return False
    digits = pluses = 0
    for c in typed.strip(DIRECTION_MARKS):
        if unicodedata.category(c) == "Nd":
            digits += 1
        elif c in PLUS:
            pluses += 1
            if digits or pluses > 1:
                return False
        elif c not in PUNCTUATION:
            return False
    return digits > 0


def number(typed, region):
    """The number that `typed` is by the plan, if it is whole, no short one, and means itself when it is read again.

    Where so few digits are left that it may be a short one, or where a zero is left in front, it has to be assigned.
    """
    try:
        parsed = phonenumbers.parse(typed, region, keep_raw_input=True)
        digits = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)[1:]
        again = phonenumbers.parse("+" + digits, None)
    except phonenumbers.NumberParseException:
        return None
    if parsed.extension or phonenumbers.format_number(again, PhoneNumberFormat.E164)[1:] != digits:
        return None
    for one in (parsed, again):
        # Not IS_POSSIBLE_LOCAL_ONLY: that one lacks its area.
        if phonenumbers.is_possible_number_with_reason(one) != ValidationResult.IS_POSSIBLE:
            return None
    if len(digits) > LONGEST_NUMBER:
        return None
    dialled = len(phonenumbers.normalize_digits_only(typed))
    national = len(phonenumbers.national_significant_number(parsed))
    if dialled <= LONGEST_SHORT_NUMBER and national > dialled:
        return None
    may_be_short = min(dialled, national) <= LONGEST_SHORT_NUMBER
    if (may_be_short or parsed.italian_leading_zero) and not phonenumbers.is_valid_number(parsed):
        return None
    return parsed


def meant(typed, region):
    """The number that somebody in `region` means by `typed`."""
    here = number(typed, region)
    if any(c in PLUS for c in typed):
        return here
    if here and (
        here.country_code_source == CountryCodeSource.FROM_NUMBER_WITH_IDD or phonenumbers.is_valid_number(here)
    ):
        return here
    abroad = number("+" + phonenumbers.normalize_digits_only(typed), None)
    if here is None:
        return abroad
    same = abroad and phonenumbers.format_number(here, PhoneNumberFormat.E164) == phonenumbers.format_number(
        abroad, PhoneNumberFormat.E164
    )
    if abroad and phonenumbers.is_valid_number(abroad) and not same:
        return None
    return here


def expected(typed, country):
    """The columns "expected", "international" and "region"."""
    region = country.upper()
    if region not in phonenumbers.SUPPORTED_REGIONS or not is_written_well(typed):
        return "invalid", "", ""
    found = meant(typed, region)
    if found is None:
        return "invalid", "", ""
    if phonenumbers.number_type(found) in REJECTED:
        return "rejected", "", ""
    belongs_to = phonenumbers.region_code_for_number(found)
    return (
        phonenumbers.format_number(found, PhoneNumberFormat.E164)[1:],
        phonenumbers.format_number(found, PhoneNumberFormat.INTERNATIONAL),
        belongs_to if belongs_to not in (None, "001") else "",
    )


# ---------------------------------------------------------------------------------------------------------------------
# The numbers: country, what is typed there, what the row shows
# ---------------------------------------------------------------------------------------------------------------------

ROWS = [
    # United Kingdom and the islands that share +44
    ("GB", "07700900001", "specification's example, trunk 0"),
    ("GB", "07700 900001", "blank"),
    ("GB", "+447700900001", "plus"),
    ("GB", "447700900001", "no plus"),
    ("GB", "+44 (0)7700 900001", "zero in brackets"),
    ("GB", "+44 07700 900001", "zero after the calling code"),
    ("GB", "7700900001", "no trunk 0"),
    ("gb", "07700900001", "country in lower case"),
    ("Gb", "07700900001", "country in mixed case"),
    ("US", "+447700900001", "plus, from elsewhere"),
    ("GB", "0044 7700 900001", "own number with prefix for calls abroad"),
    ("GB", "00447700900001", "own number with prefix for calls abroad"),
    ("GB", "+0044 7700 900001", "plus and prefix for calls abroad"),
    ("GB", "(0) 7700 900001", "zero in brackets, national"),
    ("GB", "(07700) 900-001", "brackets and dash"),
    ("GB", "(+44) 7700 900001", "plus in brackets"),
    ("GB", "+ 44 7700 900001", "blank after plus"),
    ("GB", "+44.7700.900.001", "dots"),
    ("GB", "+44/7700/900001", "slashes"),
    ("GB", "[07700] 900001", "square brackets"),
    ("GB", "07700\u00a0900001", "no-break space"),
    ("GB", "07700\u2013900\u2011001", "typographic dashes"),
    ("GB", "07700\u200b900001", "zero-width space"),
    ("GB", "\u3000\uff0b\uff14\uff14\u3000\uff17\uff17\uff10\uff10\u3000\uff19\uff10\uff10\uff10\uff10\uff11", "full-width"),
    ("GB", "\u202a+44 7700 900001\u202c", "direction marks of an address book"),
    ("GB", "\u200e07700 900001", "direction mark"),
    ("GB", "077\u202a00 900001", "direction mark in the middle"),
    ("GB", "  07700 900001  ", "blanks around"),
    ("GB", "07400 123456", "mobile"),
    ("GB", "020 7946 0018", "London, set aside for films"),
    ("GB", "+44 (0)20 7946 0018", "London, zero in brackets"),
    ("GB", "0121 234 5678", "Birmingham"),
    ("GB", "0800 123 4567", "toll-free is not rejected"),
    ("GB", "056 1234 5678", "voip is not rejected"),
    ("GB", "070 1234 5678", "personal number is not rejected"),
    ("GB", "0901 234 5678", "premium rate"),
    ("GB", "0871 234 5678", "premium rate"),
    ("GB", "0845 464 1234", "shared cost"),
    ("GB", "+44 901 234 5678", "premium rate with plus"),
    ("FR", "0044 901 234 5678", "premium rate from abroad"),
    ("GB", "12", "short"),
    ("GB", "999", "emergency"),
    ("GB", "112", "emergency"),
    ("GB", "118500", "directory enquiries"),
    ("GB", "60006", "short code for messages"),
    ("GB", "79460018", "local, without its area"),
    ("GB", "0770090000", "a digit too few, yet as many as some numbers have"),
    ("GB", "077009000", "two digits too few, trunk 0 cannot be a part of it"),
    ("GB", "077009000012", "too long"),
    ("GB", "0770090", "too short"),
    ("GB", "+44", "calling code alone"),
    ("GB", "+", "plus alone"),
    ("GB", "", "nothing"),
    ("GB", "   ", "blanks alone"),
    ("GB", "()", "brackets alone"),
    ("GB", "abc", "letters alone"),
    ("GB", "0" * 40, "zeros"),
    ("GB", "0" * 65, "over 64 bytes"),
    ("GB", "07700 900001" + " " * 60, "over 64 bytes"),
    ("GB", "07700900001 ext 5", "extension"),
    ("GB", "07700900001 ext. 5", "extension"),
    ("GB", "07700900001x5", "extension"),
    ("GB", "07700900001~5", "extension"),
    ("GB", "07700900001 #5", "extension"),
    ("GB", "07700900001,5", "extension after a pause"),
    ("GB", "07700900001;5", "extension after a wait"),
    ("GB", "+447700900001;ext=5", "extension of a tel URI"),
    ("GB", "tel:+447700900001", "tel URI"),
    ("GB", "tel:7700900001;phone-context=+44", "tel URI"),
    ("GB", "07700 9OOOO1", "letters for digits"),
    ("GB", "07700 900001\n", "newline at the end"),
    ("GB", "\n07700 900001", "newline in front"),
    ("GB", "07700\t900001", "tab"),
    ("GB", "07700 900001\r\n", "carriage return"),
    ("GB", "07700900001\0", "NUL"),
    ("GB", "07700900001\u2028", "line separator"),
    ("GB", "++447700900001", "two pluses"),
    ("GB", "44+7700900001", "plus in the middle"),
    ("GB", "07700900001+", "plus at the end"),
    ("GB", "*67 07700900001", "service prefix with star"),
    ("GB", "07700900001 07700900002", "two numbers"),
    ("GB", "07700900001 / 07700900002", "two numbers"),
    ("GB", "07700,900001", "comma"),
    ("GB", "07700'900001", "apostrophe"),
    ("GB", "0770\u00b2900001", "superscript, no digit"),
    ("GB", "07700 \U0001f4de 900001", "picture"),
    ("GB", "\u0660\u0667\u0667\u0660\u0660\u0669\u0660\u0660\u0660\u0660\u0661", "Arabic digits"),
    ("GG", "07781 123456", "Guernsey"),
    ("GG", "01481 256789", "Guernsey"),
    ("GG", "256789", "Guernsey, without its area"),
    ("JE", "07797 712345", "Jersey"),
    ("GB", "07797 712345", "Jersey, dialled in Britain"),
    ("JE", "118026", "directory enquiries"),
    ("IM", "07924 123456", "Isle of Man"),
    ("IM", "+44 1624 756789", "Isle of Man"),
    ("GB", "01624 756789", "Isle of Man, dialled in Britain"),
    # North America and others that share +1
    ("US", "+1 800 555 2067", "toll-free"),
    ("US", "8005552067", "toll-free, national"),
    ("US", "(201) 555-0123", "ten digits"),
    ("US", "1 (201) 555-0123", "trunk 1"),
    ("US", "201.555.0123", "dots"),
    ("US", "12015550123", "no plus"),
    ("GB", "12015550123", "no plus, from elsewhere"),
    ("US", "+12015550123", "plus"),
    ("US", "011 44 7700 900001", "prefix for calls abroad"),
    ("US", "01144 7700 900001", "prefix for calls abroad"),
    ("US", "0041446681800", "prefix for calls abroad of another country"),
    ("US", "447700900001", "British number without plus"),
    ("US", "4915123456789", "German number without plus"),
    ("US", "2025550123", "Washington, and not Cairo"),
    ("US", "3225550123", "new area code, or Brussels without plus"),
    ("US", "+3225550123", "Brussels"),
    ("US", "13225550123", "no such area code yet, trunk 1"),
    ("US", "555-0123", "local, without its area"),
    ("US", "911", "emergency"),
    ("US", "311", "service"),
    ("US", "72345", "short code for messages"),
    ("US", "267389", "short code for messages"),
    ("US", "+1 900 555 0123", "premium rate"),
    ("US", "900-234-5678", "premium rate"),
    ("US", "1-800-FLOWERS", "letters for digits"),
    ("US", "+1 800 CALL NOW", "letters for digits"),
    ("US", "20155501234", "a digit too many, and so an Egyptian number without plus"),
    ("US", "21255501234", "a digit too many, and no number with plus"),
    ("US", "201555012", "too short"),
    ("US", "+1201555012", "too short"),
    ("US", "(500) 234-5678", "personal number is not rejected"),
    ("CA", "(506) 234-5678", "ten digits"),
    ("CA", "+1 506 234 5678", "plus"),
    ("US", "506-234-5678", "Canada, dialled in the United States"),
    ("CA", "900-212-3456", "premium rate"),
    ("JM", "(876) 210-1234", "Jamaica"),
    ("JM", "876 523 0123", "Jamaica"),
    ("US", "8762101234", "Jamaica, dialled in the United States"),
    ("DO", "809-234-5678", "Dominican Republic"),
    ("PR", "(787) 234-5678", "Puerto Rico"),
    ("AG", "464 1234", "Antigua, local form that the plan completes"),
    ("BS", "(242) 359-1234", "Bahamas"),
    # Germany, Austria, Switzerland
    ("DE", "01512 3456789", "mobile"),
    ("DE", "0151-23456789", "mobile"),
    ("DE", "+49 (0)151 23456789", "zero in brackets"),
    ("DE", "15123456789", "no trunk 0, and not New York"),
    ("DE", "030/123456", "slash"),
    ("DE", "030 123456", "Berlin"),
    ("DE", "0049 30 123456", "prefix for calls abroad"),
    ("DE", "4930123456", "no plus"),
    ("DE", "+49 30 123456", "plus"),
    ("FR", "4915123456789", "no plus, from elsewhere"),
    ("DE", "447911123456", "reads as a German line, a plus would tell"),
    ("DE", "0800 1234567890", "toll-free"),
    ("DE", "0700 1234 5678", "personal number"),
    ("DE", "0900 1 234567", "premium rate"),
    ("DE", "0180 1 2345", "shared cost"),
    ("DE", "110", "emergency"),
    ("DE", "112", "emergency"),
    ("DE", "1234", "short, of a length that is possible"),
    ("DE", "115", "service"),
    ("DE", "22833", "short code for messages, of a length that is possible"),
    ("DE", "01512 3456789012", "over 15 digits"),
    ("AT", "0664 123456", "mobile"),
    ("AT", "+43 (0)664 123456", "zero in brackets"),
    ("AT", "01 234567890", "Vienna"),
    ("AT", "00 49 1512 3456789", "prefix for calls abroad"),
    ("AT", "0900 123456", "premium rate"),
    ("AT", "0810 123456", "shared cost"),
    ("AT", "1414", "short, of a length that is possible"),
    ("AT", "122", "emergency"),
    ("AT", "447911123456", "British number without plus, possible in Austria"),
    ("CH", "078 123 45 67", "mobile"),
    ("CH", "0041 44 668 18 00", "prefix for calls abroad"),
    ("CH", "044 668 18 00", "Zurich"),
    ("CH", "+41 (0)44 668 18 00", "zero in brackets"),
    ("CH", "41446681800", "no plus"),
    ("CH", "0900 123 456", "premium rate"),
    ("CH", "0840 123 456", "shared cost"),
    ("CH", "1818", "short"),
    ("LI", "660 234 567", "Liechtenstein"),
    # France and its regions abroad
    ("FR", "06 12 34 56 78", "mobile"),
    ("FR", "+33 (0)6 12 34 56 78", "zero in brackets"),
    ("FR", "33612345678", "no plus"),
    ("GB", "33612345678", "no plus, from elsewhere"),
    ("FR", "01.23.45.67.89", "Paris, dots"),
    ("FR", "00 44 7400 123456", "prefix for calls abroad"),
    ("FR", "09 12 34 56 78", "voip"),
    ("FR", "0 891 12 34 56", "premium rate"),
    ("FR", "0 884 01 23 45", "shared cost"),
    ("FR", "3212", "short"),
    ("FR", "06 12 34 56", "too short"),
    ("FR", "0692 12 34 56", "Reunion's number is a French one in France"),
    ("RE", "0692 12 34 56", "Reunion"),
    ("GP", "0690 00 12 34", "Guadeloupe"),
    ("PF", "87 12 34 56", "Polynesia"),
    # Italy, the Vatican, San Marino
    ("IT", "+39 02 3661 8300", "Milan, zero stays"),
    ("IT", "02 3661 8300", "Milan, zero stays"),
    ("IT", "+39 (0)2 3661 8300", "zero in brackets stays"),
    ("IT", "0039 02 3661 8300", "prefix for calls abroad"),
    ("IT", "390236618300", "no plus"),
    ("IT", "312 345 6789", "mobile"),
    ("IT", "+393123456789", "mobile"),
    ("IT", "3912345678", "mobile that begins with the calling code"),
    ("IT", "899 123 456", "premium rate"),
    ("IT", "848 123 456", "shared cost"),
    ("IT", "113", "emergency"),
    ("IT", "412", "short"),
    ("VA", "06 6981 2345", "Vatican, by Italy's plan"),
    ("VA", "+379 06 6981 2345", "Vatican's own calling code is not in use"),
    ("IT", "06 6981 2345", "Vatican, dialled in Italy"),
    ("SM", "0549 886377", "San Marino"),
    ("SM", "886377", "San Marino, without its area"),
    # Spain, Portugal, Greece, Malta, Cyprus
    ("ES", "612 34 56 78", "mobile"),
    ("ES", "+34612345678", "plus"),
    ("ES", "34612345678", "no plus"),
    ("ES", "+34 (0)612 34 56 78", "a zero that there is not"),
    ("ES", "803 12 34 56", "premium rate"),
    ("ES", "901 12 34 56", "shared cost"),
    ("ES", "11888", "directory enquiries"),
    ("PT", "912 345 678", "mobile"),
    ("PT", "00351912345678", "prefix for calls abroad"),
    ("PT", "760 123 456", "premium rate"),
    ("PT", "808 123 456", "shared cost"),
    ("GR", "691 234 5678", "mobile"),
    ("GR", "+30 21 2345 6789", "Athens"),
    ("GR", "909 123 4567", "premium rate"),
    ("MT", "9696 1234", "mobile"),
    ("CY", "96 123456", "mobile"),
    # Ireland, Belgium, the Netherlands, Luxembourg
    ("IE", "085 012 3456", "mobile"),
    ("IE", "+353 (0)85 012 3456", "zero in brackets"),
    ("IE", "1520 123 456", "premium rate"),
    ("BE", "0450 00 12 34", "mobile"),
    ("BE", "+32 (0)450 00 12 34", "zero in brackets"),
    ("BE", "0032450001234", "prefix for calls abroad"),
    ("BE", "0900 12 345", "premium rate"),
    ("NL", "06 12345678", "mobile"),
    ("NL", "06-12345678", "mobile"),
    ("NL", "+31 (0)6 12345678", "zero in brackets"),
    ("NL", "31612345678", "no plus"),
    ("NL", "0906 1234", "premium rate"),
    ("LU", "628 123 456", "mobile"),
    ("LU", "27 12 34 56", "fixed line"),
    ("LU", "12345", "short, of a length that is possible"),
    # The north
    ("DK", "34 41 23 45", "mobile"),
    ("DK", "004534412345", "prefix for calls abroad"),
    ("DK", "90 12 34 56", "premium rate"),
    ("DK", "1813", "short"),
    ("NO", "40 61 23 45", "mobile"),
    ("NO", "4740612345", "no plus"),
    ("NO", "820 12 345", "premium rate"),
    ("NO", "810 21 234", "shared cost"),
    ("SE", "070-123 45 67", "mobile"),
    ("SE", "+46 (0)70-123 45 67", "zero in brackets"),
    ("SE", "0900-12 34 567", "premium rate"),
    ("SE", "077-123 45 67", "shared cost"),
    ("SE", "112", "emergency"),
    ("FI", "041 2345678", "mobile"),
    ("FI", "00358412345678", "prefix for calls abroad"),
    ("FI", "99041 2345678", "prefix for calls abroad of one operator, without country"),
    ("FI", "0600 123456", "premium rate"),
    ("FI", "16400", "short, of a length that is possible"),
    ("IS", "611 1234", "mobile of seven digits"),
    ("IS", "+354 611 1234", "plus"),
    ("EE", "5123 4567", "mobile"),
    ("LV", "21 234 567", "mobile"),
    ("LT", "0 612 34567", "trunk 0"),
    ("LT", "8 612 34567", "trunk 8, as it was"),
    ("LT", "(8-612) 34567", "trunk 8, as it was"),
    ("LT", "+370 612 34567", "plus"),
    ("LT", "0 900 12 345", "premium rate"),
    # The east of Europe
    ("PL", "512 345 678", "mobile"),
    ("PL", "48512345678", "no plus"),
    ("PL", "701 234 567", "premium rate"),
    ("PL", "801 234 567", "shared cost"),
    ("CZ", "601 123 456", "mobile"),
    ("CZ", "00420601123456", "prefix for calls abroad"),
    ("SK", "0912 123 456", "mobile"),
    ("HU", "06 20 123 4567", "trunk 06"),
    ("HU", "(06 1) 234 5678", "Budapest"),
    ("HU", "+36 06 20 123 4567", "trunk after the calling code"),
    ("HU", "+36 20 123 4567", "plus"),
    ("HU", "00 20 10 01234567", "prefix for calls abroad, and Egypt"),
    ("HU", "06 90 123 456", "premium rate"),
    ("RO", "0712 034 567", "mobile"),
    ("BG", "043 012 345", "mobile"),
    ("RS", "060 1234567", "mobile"),
    ("HR", "092 123 4567", "mobile"),
    ("SI", "031 234 567", "mobile"),
    ("UA", "050 123 4567", "mobile"),
    ("UA", "+38 (050) 123-45-67", "zero belongs to the calling code"),
    ("UA", "380501234567", "no plus"),
    ("UA", "0900 212 345", "premium rate"),
    ("BY", "8 029 491-19-11", "trunk 8 and 0"),
    ("BY", "+375 29 491-19-11", "plus"),
    ("MD", "0621 12 345", "mobile"),
    ("RU", "8 (912) 345-67-89", "trunk 8"),
    ("RU", "+7 912 345-67-89", "plus"),
    ("RU", "79123456789", "no plus"),
    ("RU", "9123456789", "no trunk 8"),
    ("RU", "+7 8 912 345 67 89", "trunk after the calling code"),
    ("RU", "8~10 44 7700 900001", "a tilde may begin an extension"),
    ("RU", "8\u223c10 44 7700 900001", "prefix for calls abroad, with a sign for the wait"),
    ("RU", "810 44 7700 900001", "prefix for calls abroad"),
    ("RU", "810 39 2345678", "prefix for calls abroad, though it would be Tokyo with a plus"),
    ("RU", "8 (809) 123-45-67", "premium rate"),
    ("RU", "8 (800) 123-45-67", "toll-free"),
    ("RU", "112", "emergency"),
    ("KZ", "8 (771) 000 9998", "Kazakhstan shares +7"),
    ("KZ", "+7 771 000 9998", "Kazakhstan shares +7"),
    ("RU", "+7 771 000 9998", "Kazakhstan, from Russia"),
    ("KZ", "8 912 345 67 89", "Russia, dialled in Kazakhstan"),
    # Western Asia and the Caucasus
    ("TR", "0501 234 56 78", "mobile"),
    ("TR", "+90 (0501) 234 56 78", "trunk in brackets"),
    ("TR", "0900 123 4567", "premium rate"),
    ("IL", "050-234-5678", "mobile"),
    ("IL", "00 972 50-234-5678", "prefix for calls abroad"),
    ("IL", "012 44 7700 900001", "prefix for calls abroad of one operator"),
    ("IL", "1-919-123-456", "premium rate"),
    ("IL", "1-700-123-456", "shared cost"),
    ("SA", "051 234 5678", "mobile"),
    ("SA", "\u0660\u0665\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668", "Arabic digits"),
    ("SA", "+966 51 234 5678", "plus"),
    ("SA", "9200 12345", "shared cost"),
    ("AE", "050 123 4567", "mobile"),
    ("AE", "00971501234567", "prefix for calls abroad"),
    ("AE", "700 0 12345", "shared cost"),
    ("IR", "\u06f0\u06f9\u06f1\u06f2 \u06f3\u06f4\u06f5 \u06f6\u06f7\u06f8\u06f9", "Persian digits"),
    ("IQ", "0791 234 5678", "mobile"),
    ("JO", "07 9012 3456", "mobile"),
    ("LB", "71 123 456", "mobile"),
    ("KW", "500 12345", "mobile"),
    ("QA", "3312 3456", "mobile"),
    ("GE", "555 12 34 56", "mobile"),
    ("AM", "077 123456", "mobile"),
    ("AZ", "040 123 45 67", "mobile"),
    ("UZ", "91 234 56 78", "mobile"),
    # Southern and Eastern Asia
    ("IN", "081234 56789", "mobile"),
    ("IN", "+91 81234 56789", "plus"),
    ("IN", "918123456789", "no plus"),
    ("IN", "\u0968\u0967", "Devanagari digits, short"),
    ("IN", "0091 81234 56789", "prefix for calls abroad"),
    ("IN", "1861 123 456 789", "premium rate"),
    ("IN", "1860 345 1234", "shared cost"),
    ("PK", "0301 2345678", "mobile"),
    ("PK", "0900 123 45", "premium rate"),
    ("BD", "01812-345678", "mobile"),
    ("BD", "+880 1812-345678", "plus"),
    ("LK", "071 234 5678", "mobile"),
    ("NP", "984-1234567", "mobile"),
    ("MM", "09 212 3456", "mobile"),
    ("CN", "131 2345 6789", "mobile"),
    ("CN", "0086 131 2345 6789", "prefix for calls abroad"),
    ("CN", "010 1234 5678", "Beijing"),
    ("CN", "17951 131 2345 6789", "carrier code"),
    ("CN", "400 123 4567", "shared cost"),
    ("CN", "10086", "short"),
    ("HK", "5123 4567", "mobile"),
    ("HK", "001 44 7700 900001", "prefix for calls abroad"),
    ("HK", "900 12 345 678", "premium rate"),
    ("MO", "6612 3456", "mobile"),
    ("TW", "0912 345 678", "mobile"),
    ("JP", "090-1234-5678", "mobile"),
    ("JP", "\uff10\uff19\uff10\u30fc\uff11\uff12\uff13\uff14\u30fc\uff15\uff16\uff17\uff18", "full-width, long vowel for a dash"),
    ("JP", "+81 (0)90-1234-5678", "zero in brackets"),
    ("JP", "010 44 7700 900001", "prefix for calls abroad"),
    ("JP", "0990-123-456", "premium rate"),
    ("JP", "110", "emergency"),
    ("KR", "010-2000-0000", "mobile"),
    ("KR", "00700 44 7700 900001", "prefix for calls abroad of one operator"),
    ("KR", "+82 10-2000-0000", "plus"),
    ("KR", "060-234-5678", "premium rate"),
    ("SG", "8123 4567", "mobile"),
    ("SG", "6581234567", "no plus"),
    ("SG", "1900 123 4567", "premium rate"),
    ("MY", "012-345 6789", "mobile"),
    ("MY", "60123456789", "no plus"),
    ("TH", "081 234 5678", "mobile"),
    ("TH", "\u0e50\u0e58\u0e51 \u0e52\u0e53\u0e54 \u0e55\u0e56\u0e57\u0e58", "Thai digits"),
    ("VN", "0912 345 678", "mobile"),
    ("VN", "1900 123456", "premium rate"),
    ("PH", "0905 123 4567", "mobile"),
    ("PH", "+63 905 123 4567", "plus"),
    ("ID", "0812-345-678", "mobile"),
    ("ID", "6281234567890", "no plus"),
    ("ID", "62812345678", "no plus, but also a line of the area 628"),
    ("ID", "008 44 7700 900001", "prefix for calls abroad"),
    ("ID", "001 44 7700 900001", "prefix for calls abroad of another country"),
    ("ID", "0809 1 234 567", "premium rate"),
    ("KH", "091 234 567", "mobile"),
    ("LA", "020 23 123 456", "mobile"),
    ("MN", "8812 3456", "mobile"),
    # Oceania
    ("AU", "0412 345 678", "mobile"),
    ("AU", "+61 (0)412 345 678", "zero in brackets"),
    ("AU", "0011 44 7700 900001", "prefix for calls abroad"),
    ("AU", "(02) 1234 5678", "Sydney"),
    ("AU", "0491 570 006", "set aside for films"),
    ("AU", "1900 123 456", "premium rate"),
    ("AU", "1300 123 456", "shared cost"),
    ("AU", "000", "emergency"),
    ("NZ", "021 123 4567", "mobile"),
    ("NZ", "0064211234567", "prefix for calls abroad"),
    ("NZ", "0900 123 456", "premium rate"),
    ("FJ", "701 2345", "mobile"),
    ("NC", "75.12.34", "mobile of six digits"),
    ("NU", "888 4012", "Niue"),
    ("SH", "51234", "mobile of five digits"),
    ("AC", "40123", "mobile of five digits"),
    ("SH", "1234", "short, of a length that is possible"),
    # Africa
    ("ZA", "071 123 4567", "mobile"),
    ("ZA", "+27 (0)71 123 4567", "zero in brackets"),
    ("ZA", "0860 123 456", "shared cost"),
    ("ZA", "10111", "police, of a length that is possible"),
    ("NG", "0802 123 4567", "mobile"),
    ("NG", "009 44 7700 900001", "prefix for calls abroad"),
    ("NG", "2348021234567", "no plus"),
    ("KE", "0712 123456", "mobile"),
    ("KE", "000 44 7700 900001", "prefix for calls abroad"),
    ("KE", "0900 223 456", "premium rate"),
    ("EG", "010 01234567", "mobile"),
    ("EG", "\u0660\u0661\u0660 \u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667", "Arabic digits"),
    ("EG", "0900 123 4567", "premium rate"),
    ("GH", "023 123 4567", "mobile"),
    ("CI", "01 23 45 67 89", "ten digits since 2021"),
    ("CI", "+225 01 23 45 67 89", "ten digits since 2021"),
    ("CI", "+225 07 12 34 56", "eight digits until 2021"),
    ("CI", "07 12 34 56", "eight digits until 2021"),
    ("MA", "06 50 12 34 56", "mobile"),
    ("DZ", "0551 23 45 67", "mobile"),
    ("TN", "20 123 456", "mobile"),
    ("TN", "88 123 456", "premium rate"),
    ("SN", "70 123 45 67", "mobile"),
    ("CM", "6 71 23 45 67", "mobile"),
    ("ET", "091 123 4567", "mobile"),
    ("TZ", "0621 234 567", "mobile"),
    ("UG", "0712 345678", "mobile"),
    # Latin America
    ("MX", "222 123 4567", "ten digits"),
    ("MX", "+52 222 123 4567", "plus"),
    ("MX", "900 123 4567", "premium rate"),
    ("AR", "011 15-2345-6789", "mobile 15 after the area"),
    ("AR", "11 2345-6789", "Buenos Aires"),
    ("AR", "+54 9 11 2345-6789", "mobile 9 before the area"),
    ("AR", "+54 11 15-2345-6789", "15 from abroad"),
    ("AR", "5491123456789", "no plus"),
    ("AR", "0600-123-4567", "premium rate"),
    ("BR", "(11) 96123-4567", "mobile"),
    ("BR", "011 96123-4567", "trunk 0"),
    ("BR", "0 15 11 96123-4567", "carrier code 15"),
    ("BR", "0 41 (11) 96123-4567", "carrier code 41"),
    ("BR", "+55 11 96123-4567", "plus"),
    ("BR", "00 15 44 7700 900001", "prefix for calls abroad with carrier code"),
    ("BR", "96123-4567", "local, without its area, yet as long as some numbers are"),
    ("BR", "4004-1234", "shared cost"),
    ("BR", "190", "emergency"),
    ("CO", "321 1234567", "mobile"),
    ("CO", "(601) 2345678", "Bogota"),
    ("CO", "01-900-1234567", "premium rate"),
    ("CL", "(2) 2123 4567", "Santiago"),
    ("CL", "+56 9 6123 4567", "mobile"),
    ("CL", "600 123 4567", "shared cost"),
    ("PE", "912 345 678", "mobile"),
    ("VE", "0412-1234567", "mobile"),
    ("EC", "099 123 4567", "mobile"),
    ("UY", "094 231 234", "mobile"),
    ("PY", "0961 456789", "mobile"),
    ("BO", "71234567", "mobile"),
    ("CR", "8312 3456", "mobile"),
    ("CU", "05 1234567", "mobile"),
    ("PA", "6123-4567", "mobile"),
    # No country, no such country
    ("GB", "+800 1234 5678", "toll-free of no country"),
    ("US", "+881 6 12345678", "satellite"),
    ("GB", "+883 5100 0123456", "network of no country"),
    ("GB", "+979 123 456 789", "premium rate of no country"),
    ("GB", "+999 1234 5678", "no such calling code"),
    ("GB", "+210 1234 5678", "no such calling code"),
    ("ZZ", "07700900001", "no such country"),
    ("ZZ", "+447700900001", "no such country"),
    ("UK", "+447700900001", "no code of a country"),
    ("001", "+80012345678", "the world is no country"),
    ("", "+447700900001", "no country"),
    ("G", "+447700900001", "no country"),
    ("GBR", "+447700900001", "three letters"),
    (" GB", "+447700900001", "blank before the country"),
    ("44", "+447700900001", "calling code for country"),
    ("\u0413\u0411", "+447700900001", "country in other letters"),
    # In the wrong country
    ("FR", "07700900001", "too long there"),
    ("DE", "06 12 34 56 78", "French number, possible in Germany"),
    ("US", "07700900001", "too long there, no calling code"),
    ("GB", "0612345678", "French number, possible in Britain"),
    ("NO", "07700900001", "too long there"),
    # A zero too many
    ("GB", "+44 00 7700 900001", "two zeros after the calling code"),
    ("GB", "+44 00 770090000", "two zeros, one of which would make it possible"),
    ("AU", "00611631234", "wrong prefix for calls abroad"),
    ("IE", "+353 00 368631726", "two zeros, one of which would make it possible"),
    ("FR", "006 12 34 56 78", "two zeros are the prefix for calls abroad"),
    ("SK", "00912 123 456", "two zeros"),
    # Read again, they lose one more of what looks like a trunk prefix
    ("BY", "+375 8 8489006924", "two trunk 8"),
    ("CN", "+86 0112044923112", "trunk 0 before what looks like a carrier code"),
]


def main():
    lines = [
        f"# Made by make_table.py with phonenumbers {phonenumbers.__version__}: do not edit.",
        "# A JSON text, a country, then the digits, the international form and the region that are expected; or invalid or",
        "# rejected. The region is empty where nobody knows it.",
        "\t".join(["typed", "country", "expected", "international", "region", "shows"]),
    ]
    for country, typed, shows in ROWS:
        columns = [json.dumps(typed), country, *expected(typed, country), shows]
        assert not any("\t" in column or "\n" in column for column in columns), columns
        lines.append("\t".join(columns))
    assert len({(country, typed) for country, typed, _ in ROWS}) == len(ROWS), "a row stands there twice"
    table = pathlib.Path(__file__).with_name("numbers.tsv")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(ROWS)} numbers, {len({country.upper() for country, _, _ in ROWS})} countries: {table}")


if __name__ == "__main__":
    main()
