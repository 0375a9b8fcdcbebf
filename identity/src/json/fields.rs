//! Typed access to the fields of an object. Errors name the field, never its value.
//!
//! Invariant: every accessor treats `null` as absent.

use super::{Json, Object};

/// A missing or invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// All required fields that are absent.
    #[error("Missing parameters: {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A field has the wrong type, length or syntax.
    #[error("Invalid parameter {field}: expected {expected}")]
    Invalid {
        /// The field's name, truncated if the client chose it.
        field: String,
        /// The expected value.
        expected: &'static str,
    },
}

impl FieldError {
    /// An invalid field; `expected` completes the message.
    pub fn invalid(field: &str, expected: &'static str) -> Self {
        Self::Invalid { field: field.chars().take(64).filter(|c| !c.is_control()).collect(), expected }
    }
}

impl<'a> Object<'a> {
    /// Checks that all these fields are present, so that missing fields are reported before invalid ones.
    ///
    /// # Errors
    /// [`FieldError::Missing`] with every absent name.
    pub fn require(&self, names: &[&'static str]) -> Result<(), FieldError> {
        let missing: Vec<_> = names.iter().copied().filter(|name| self.present(name).is_none()).collect();
        if missing.is_empty() { Ok(()) } else { Err(FieldError::Missing(missing)) }
    }

    /// A required string.
    ///
    /// # Errors
    /// [`FieldError`] if the field is absent or has another type.
    pub fn string(&self, name: &'static str) -> Result<&str, FieldError> {
        self.optional_string(name)?.ok_or(FieldError::Missing(vec![name]))
    }

    /// An optional string.
    ///
    /// # Errors
    /// [`FieldError::Invalid`] if the field has another type.
    pub fn optional_string(&self, name: &'static str) -> Result<Option<&str>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(FieldError::invalid(name, "a string")),
        }
    }

    /// A required object.
    ///
    /// # Errors
    /// [`FieldError`] if the field is absent or has another type.
    pub fn object(&self, name: &'static str) -> Result<&Object<'a>, FieldError> {
        match self.present(name) {
            None => Err(FieldError::Missing(vec![name])),
            Some(Json::Object(object)) => Ok(object),
            Some(_) => Err(FieldError::invalid(name, "an object")),
        }
    }

    /// A required array of strings.
    ///
    /// # Errors
    /// [`FieldError`] if the field is absent, has another type, or contains another type.
    pub fn strings(&self, name: &'static str) -> Result<Vec<&str>, FieldError> {
        let wrong = || FieldError::invalid(name, "a list of strings");
        match self.present(name) {
            None => Err(FieldError::Missing(vec![name])),
            Some(Json::Array(values)) => values
                .iter()
                .map(|value| match value {
                    Json::Text(text) => Ok(text.as_ref()),
                    _ => Err(wrong()),
                })
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// The member; `None` if it is absent or `null`.
    pub fn present(&self, name: &str) -> Option<&Json<'a>> {
        self.find(name).filter(|value| !matches!(value, Json::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldError, Object};

    fn object(text: &str) -> Object<'_> {
        Object::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn all_missing_fields_are_named_and_null_counts_as_missing() {
        let body = object(r#"{"a":null,"b":1}"#);
        assert_eq!(body.require(&["a", "b", "c"]), Err(FieldError::Missing(vec!["a", "c"])));
        assert_eq!(body.require(&["b"]), Ok(()));
        assert_eq!(body.optional_string("a"), Ok(None));
        let error = body.require(&["a", "c"]).unwrap_err().to_string();
        assert_eq!(error, "Missing parameters: a, c");
    }

    #[test]
    fn errors_about_types_name_the_field_and_not_the_value() {
        let body = object(r#"{"a":"secret","b":["x",1],"c":["x"],"d":{}}"#);
        assert_eq!(body.string("a"), Ok("secret"));
        assert_eq!(body.string("b"), Err(FieldError::invalid("b", "a string")));
        assert_eq!(body.strings("b"), Err(FieldError::invalid("b", "a list of strings")));
        assert_eq!(body.strings("c"), Ok(vec!["x"]));
        assert!(body.object("d").is_ok() && body.object("a").is_err());
        assert!(!body.object("a").unwrap_err().to_string().contains("secret"));
    }
}
