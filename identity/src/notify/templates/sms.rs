//! The text of an SMS: the operator's template by brand and language, else `[sms] body_template`, else the built-in text in
//! the language of the request.
//!
//! Invariant: at start each template has rendered to one SMS that contains the token.

use super::{Audience, TemplateError, TemplateKind, Templates, Variables};
use crate::domain::sms_text::one_message;

impl Templates {
    /// The SMS that validates a number. White space around the text, such as a file's last line break, is dropped.
    ///
    /// # Errors
    /// [`TemplateError`] if the template fails with this token.
    pub fn text_message(&self, token: &str, audience: &Audience<'_>) -> Result<String, TemplateError> {
        let mut variables = Variables::default();
        variables.set("token", token);
        if let Some(text) = self.render_own(TemplateKind::Sms, &variables, audience) {
            return Ok(text?.trim().to_owned());
        }
        if let Some(text) = &self.sms_text {
            return Ok(text.replace("{token}", token));
        }
        let text = self.render_built_in(TemplateKind::Sms, &variables, audience)?;
        // Phones find the code in a text without formatting characters, and fill it in.
        Ok(text.trim().replace(['\u{2068}', '\u{2069}'], ""))
    }
}

/// Checks that `text` contains the token and fits into one SMS.
pub(super) fn check(text: &str, token: &str) -> Result<(), String> {
    if !text.contains(token) {
        return Err("{{ token }} is missing".to_owned());
    }
    one_message(text).map(drop).map_err(|(encoding, units)| {
        format!("the text takes {units} characters, but one SMS holds {} of its alphabet", encoding.capacity())
    })
}
