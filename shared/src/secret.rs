//! A secret value: `Secret<T>` prints `***` and is zeroized on drop.
//!
//! Invariant: only `expose` and `expose_mut` give access to the value, so a search for that word finds every place that reads a
//! secret.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

/// Wraps a value that logs, errors and debug output must not show.
#[derive(Clone, Default, PartialEq)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the call that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value, for a secret that is composed in place.
    pub(crate) fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The library's error about a wrong type has the value.
        let hide = |error: D::Error| {
            let is_about_type = error.to_string().starts_with("invalid type");
            if is_about_type { D::Error::custom("expected a text in quotes") } else { error }
        };
        T::deserialize(deserializer).map(Self).map_err(hide)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn an_error_about_the_type_does_not_show_the_value() {
        let error =
            serde_json::from_value::<Secret<String>>(serde_json::json!(12_345_678)).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("expected a text in quotes"));
    }

    #[test]
    fn neither_debug_nor_display_shows_the_value() {
        let secret = Secret::new(String::from("hunter2"));
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
