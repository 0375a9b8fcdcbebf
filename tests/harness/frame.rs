//! The numbers in HTTP/2 frames that the fakes look at (RFC 9113, sections 3.4, 6 and 11).
//!
//! Invariant: nothing here reads or writes a frame.

pub(crate) const PREFACE: usize = 24;
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const HAS_PRIORITY: u8 = 0x20;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
