//! What the relay knows of the frames of a connection.
//!
//! Invariant: a lower limit of streams holds only when the client has acknowledged it.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::frame::{MAX_CONCURRENT_STREAMS, SETTINGS, frame};

/// The frames of a connection, as far as tests and fakes ask for them.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The number of streams that the client may open, by what it has acknowledged.
    pub(crate) limit: AtomicU32,
    /// The limits that were announced and are not acknowledged yet, oldest first. Each holds when it is acknowledged.
    announced: Mutex<VecDeque<u32>>,
    /// Streams above this one were not processed.
    pub(crate) last_stream: AtomicU32,
    streams: Mutex<Streams>,
    /// PRIORITY frames, and HEADERS with a priority.
    pub(crate) priorities: AtomicUsize,
    /// PINGs from the client.
    pub(crate) pings: AtomicUsize,
    /// Whether the relay drops every frame.
    pub(crate) mute: AtomicBool,
    /// The signals of [`Order::Acknowledge`] that wait for the client.
    waiting: Mutex<VecDeque<oneshot::Sender<()>>>,
}

/// The streams of a connection.
#[derive(Debug, Default)]
struct Streams {
    open: HashSet<u32>,
    /// Opened beyond the limit.
    excess: HashSet<u32>,
    /// With the head of the response on its way, on a connection that stays until the head has arrived.
    answered: HashSet<u32>,
    /// Reset by the client before the response.
    abandoned: HashSet<u32>,
    /// Reset where the response ends.
    breaking_off: HashSet<u32>,
    peak: usize,
}

impl Wire {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: limit.into(),
            announced: Mutex::default(),
            last_stream: u32::MAX.into(),
            streams: Mutex::default(),
            priorities: AtomicUsize::new(0),
            pings: AtomicUsize::new(0),
            mute: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// Whether the client exceeded the limit with this stream.
    pub(super) fn is_excess(&self, stream: u32) -> bool {
        self.streams().excess.contains(&stream)
    }

    /// Whether the client received the head of the response on this stream, or will receive it.
    pub(super) fn was_answered(&self, stream: u32) -> bool {
        self.streams().answered.contains(&stream)
    }

    /// Resets the stream (`INTERNAL_ERROR`) after the last frame of its response, which does not end it.
    pub(super) fn break_off(&self, stream: u32) {
        self.streams().breaking_off.insert(stream);
    }

    /// The most streams that were open at once.
    pub(super) fn peak(&self) -> usize {
        self.streams().peak
    }

    /// Whether the stream is reset now, with the last frame of its response.
    pub(super) fn breaks_off(&self, stream: u32) -> bool {
        self.streams().breaking_off.remove(&stream)
    }

    /// Sends the signal when the client answers the next PING.
    pub(super) fn wait(&self, signal: oneshot::Sender<()>) {
        self.waiting().push_back(signal);
    }

    /// Sends the oldest signal that waits.
    pub(super) fn acknowledge_ping(&self) {
        if let Some(signal) = self.waiting().pop_front() {
            // An error means that the receiver has ended.
            let _ = signal.send(());
        }
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

    pub(super) fn abandon(&self, stream: u32) {
        let mut streams = self.streams();
        streams.open.remove(&stream);
        streams.abandoned.insert(stream);
    }

    pub(super) fn answer(&self, stream: u32) {
        let mut streams = self.streams();
        if !streams.abandoned.contains(&stream) {
            streams.answered.insert(stream);
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame that announces another limit. A higher limit holds at once, a lower one when the client acknowledges it.
    pub(super) fn announce(&self, limit: u32) -> Vec<u8> {
        self.announced().push_back(limit);
        self.limit.fetch_max(limit, Ordering::SeqCst);
        let mut payload = MAX_CONCURRENT_STREAMS.to_be_bytes().to_vec();
        payload.extend(limit.to_be_bytes());
        frame(SETTINGS, 0, &payload)
    }

    /// Takes the client's acknowledgement of the oldest announcement. The client may use later, higher limits already.
    pub(super) fn acknowledge(&self) {
        let mut announced = self.announced();
        if let Some(limit) = announced.pop_front() {
            self.limit.store(announced.iter().copied().fold(limit, u32::max), Ordering::SeqCst);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announced(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
