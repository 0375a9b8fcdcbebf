//! The text of an SMS: the operator's template by brand and language, or else `[sms] body_template`.
//!
//! Invariant: every template was tried at start, and what it gave was one SMS with the token in it.

use super::{Audience, MessageError, Syntax, Templates, Text, Variables};
use crate::domain::sms_text::one_message;

impl Templates {
    /// Renders a template that was just read, and judges what it gives.
    pub(super) fn try_out(&self, text: Text, syntax: Syntax, source: &str) -> Result<(), String> {
        let mut sample = Variables::sample();
        if text == Text::Sms {
            sample.set("token", &self.sample_token);
        }
        let rendered = self.engine.render(syntax, source, &sample)?;
        if text == Text::Sms { check(rendered.trim(), &self.sample_token) } else { Ok(()) }
    }

    /// The SMS that proves a number. White space around the text, such as a file's last line break, is not part of it.
    ///
    /// # Errors
    /// [`MessageError::Template`].
    pub fn text_message(&self, token: &str, audience: &Audience<'_>) -> Result<String, MessageError> {
        let Some(source) = self.find(Text::Sms, audience) else { return Ok(self.sms_text.replace("{token}", token)) };
        let mut variables = Variables::default();
        variables.set("token", token);
        let rendered = self.engine.render(source.syntax, &source.text, &variables);
        let failed = |mistake| MessageError::Template { kind: "sms", mistake };
        rendered.map(|text| text.trim().to_owned()).map_err(failed)
    }
}

/// Whether this can be the text of an SMS with this token.
fn check(text: &str, token: &str) -> Result<(), String> {
    if !text.contains(token) {
        return Err("{{ token }} does not stand in it".to_owned());
    }
    one_message(text).map(drop).map_err(|(encoding, units)| {
        format!("it takes {units} characters, but one SMS holds {} of its alphabet", encoding.capacity())
    })
}
