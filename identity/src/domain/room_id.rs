//! A Matrix room ID.
//!
//! Invariant: it fits on one line and into a link. Every sigil is valid, because room versions differ.

use std::fmt;

/// The specification's limit.
const MAX_LENGTH: usize = 255;

/// A room ID: 1 to 255 bytes without control characters and white space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoomId(String);

/// The text is not a room ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a room ID (1 to 255 bytes, no control characters, no white space)")]
pub struct InvalidRoomId;

impl RoomId {
    /// # Errors
    /// [`InvalidRoomId`] if it is empty, too long, or has a control character or white space.
    pub fn parse(text: &str) -> Result<Self, InvalidRoomId> {
        let right =
            (1..=MAX_LENGTH).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if right { Ok(Self(text.to_owned())) } else { Err(InvalidRoomId) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RoomId;

    #[test]
    fn every_sigil_is_valid_and_white_space_is_not() {
        let longest = "!".repeat(255);
        for text in ["!r:hs.example", "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM", "#r:hs", "x", "!é:hs", &longest]
        {
            assert_eq!(RoomId::parse(text).unwrap().as_str(), text);
        }
        let too_long = "!".repeat(256);
        for text in ["", "!r :hs", "!r:hs\n", "\0", "!r\u{85}:hs", "!r\u{2028}", "!r\u{a0}", &too_long] {
            assert!(RoomId::parse(text).is_err(), "{text:?}");
        }
    }
}
