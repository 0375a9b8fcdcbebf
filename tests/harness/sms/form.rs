//! `application/x-www-form-urlencoded` bodies, read strictly (WHATWG URL Standard, section 5).
//!
//! Invariant: what a careful writer would have escaped has to be escaped, so that no text passes by luck.

/// The fields of a form, in order.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `body`, or says what is wrong with it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let mut fields = Vec::new();
        for field in body.split(|byte| *byte == b'&').filter(|field| !field.is_empty()) {
            let at = field.iter().position(|byte| *byte == b'=').ok_or("a field of the form has no =")?;
            fields.push((decode(&field[..at])?, decode(&field[at + 1..])?));
        }
        Ok(Self(fields))
    }

    /// The first field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Complains of names that `is_known` does not know, and of those that come twice.
    pub(super) fn complain_of_strangers(&self, is_known: impl Fn(&str) -> bool, complaints: &mut Vec<String>) {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if !is_known(name) {
                complaints.push(format!("no such parameter: {name}"));
            } else if self.0[..index].iter().any(|(before, _)| before == name) {
                complaints.push(format!("twice: {name}"));
            }
        }
    }
}

fn decode(mut text: &[u8]) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let [first, rest @ ..] = text {
        text = rest;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let [high, low, rest @ ..] = rest else { return Err("an escape of the form is cut off".into()) };
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok().filter(|_| high.is_ascii_hexdigit());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or("an escape of the form is not hexadecimal")?);
                text = rest;
            }
            b'*' | b'-' | b'.' | b'_' | b'~' => bytes.push(*first),
            byte if byte.is_ascii_alphanumeric() => bytes.push(*byte),
            byte => return Err(format!("the form does not escape {:?}", char::from(*byte))),
        }
    }
    String::from_utf8(bytes).map_err(|_| "the form is not UTF-8".into())
}
