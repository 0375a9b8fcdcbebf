//! How many bytes JSON takes.
//!
//! Invariant: equal to the length of the text that serde_json writes.

use std::io;

use serde::Serialize;

/// Counts the bytes that are written.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of `value` as JSON.
pub(crate) fn json_size(value: &(impl Serialize + ?Sized)) -> usize {
    let mut counter = Counter(0);
    // Values, maps with string keys, and strings always serialize.
    drop(serde_json::to_writer(&mut counter, value));
    counter.0
}
