//! What is known of a connection: its streams, and what was said of how many there may be.
//!
//! Invariant: an answer counts as told only if its head was passed on, to a client that still waited for it.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{MAX_CONCURRENT_STREAMS, SETTINGS, frame};

/// What is known of a connection's frames.
#[derive(Debug)]
pub(crate) struct Wire {
    /// How many streams the client may have, as far as it has heard.
    pub(crate) limit: AtomicU32,
    /// What was announced and is not acknowledged yet, the first first: each is in force when it is acknowledged.
    announced: Mutex<VecDeque<u32>>,
    /// Streams above this one were not processed.
    pub(crate) last_stream: AtomicU32,
    streams: Mutex<Streams>,
    /// PRIORITY frames, and HEADERS with one in them.
    pub(crate) priorities: AtomicUsize,
    /// PINGs from the client.
    pub(crate) pings: AtomicUsize,
    /// Whether it lets nothing through any more.
    pub(crate) mute: AtomicBool,
}

/// The streams of a connection.
#[derive(Debug, Default)]
struct Streams {
    open: HashSet<u32>,
    /// Opened beyond what was allowed.
    excess: HashSet<u32>,
    /// Whose answer's head is on its way, on a connection that stays until it has arrived.
    told: HashSet<u32>,
    /// Whose answer the client did not wait for.
    given_up: HashSet<u32>,
    peak: usize,
}

impl Wire {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: limit.into(),
            announced: Mutex::default(),
            last_stream: u32::MAX.into(),
            streams: Mutex::default(),
            priorities: AtomicUsize::new(0),
            pings: AtomicUsize::new(0),
            mute: AtomicBool::new(false),
        }
    }

    /// Whether the client was not allowed to open this stream.
    pub(crate) fn is_excess(&self, stream: u32) -> bool {
        self.streams().excess.contains(&stream)
    }

    /// Whether the client has heard, or is about to hear, the head of the answer on this stream.
    pub(crate) fn has_told(&self, stream: u32) -> bool {
        self.streams().told.contains(&stream)
    }

    /// The most streams that were open at once.
    pub(crate) fn peak(&self) -> usize {
        self.streams().peak
    }

    pub(super) fn open(&self, stream: u32) {
        let mut streams = self.streams();
        streams.open.insert(stream);
        streams.peak = streams.peak.max(streams.open.len());
        if streams.open.len() > self.limit.load(Ordering::SeqCst) as usize {
            streams.excess.insert(stream);
        }
    }

    pub(super) fn close(&self, stream: u32) {
        self.streams().open.remove(&stream);
    }

    pub(super) fn give_up(&self, stream: u32) {
        let mut streams = self.streams();
        streams.open.remove(&stream);
        streams.given_up.insert(stream);
    }

    pub(super) fn tell(&self, stream: u32) {
        let mut streams = self.streams();
        if !streams.given_up.contains(&stream) {
            streams.told.insert(stream);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame that announces another limit. A higher one is in force at once, a lower one when the client knows.
    pub(crate) fn announce(&self, limit: u32) -> Vec<u8> {
        self.announced().push_back(limit);
        self.limit.fetch_max(limit, Ordering::SeqCst);
        let mut payload = MAX_CONCURRENT_STREAMS.to_be_bytes().to_vec();
        payload.extend(limit.to_be_bytes());
        frame(SETTINGS, 0, &payload)
    }

    /// The client has acknowledged the oldest announcement. Of later ones it may have heard.
    pub(super) fn acknowledge(&self) {
        let mut announced = self.announced();
        if let Some(limit) = announced.pop_front() {
            self.limit.store(announced.iter().copied().fold(limit, u32::max), Ordering::SeqCst);
        }
    }

    fn announced(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
