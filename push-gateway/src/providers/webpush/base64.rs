//! Base64 as browsers and apps write it: either alphabet, with or without padding.
//!
//! Invariant: equal bytes have one spelling once they are encoded again.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// The bytes of `text`; `None` if it is not base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['+', '/']) { &STANDARD } else { &URL_SAFE };
    engine.decode(text).ok()
}

/// Base64url without padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
