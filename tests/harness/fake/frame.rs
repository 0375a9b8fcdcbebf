//! HTTP/2 frames that the relay reads and writes (RFC 9113, sections 3.4, 6 and 11).
//!
//! Invariant: a frame that is made here belongs to the connection, stream 0.

pub(super) const PREFACE: usize = 24;
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const HAS_PRIORITY: u8 = 0x20;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;

/// A frame of stream 0.
pub(super) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}
