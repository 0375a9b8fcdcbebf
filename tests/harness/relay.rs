//! The wire between a client and the HTTP/2 library of a fake: passes frames on, says what the library cannot be made to
//! say, and knows which answers the client has heard.
//!
//! Invariant: frames are passed on whole and in order, so that what a test puts between them is read as a frame; a
//! connection that the test cuts ends only when the client has read all that was passed on.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::frame::{
    ACK, DATA, END_STREAM, GOAWAY, HAS_PRIORITY, HEADERS, MAX_CONCURRENT_STREAMS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS,
};

/// What the last PING before a cut says.
const FAREWELL: [u8; 8] = *b"farewell";

/// What the wire is to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Says this between two frames.
    Say(Vec<u8>),
    /// Says nothing more, and cuts the connection when everything said before has arrived; the rest is lost for certain.
    Cut,
}

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

    fn open(&self, stream: u32) {
        let mut streams = self.streams();
        streams.open.insert(stream);
        streams.peak = streams.peak.max(streams.open.len());
        if streams.open.len() > self.limit.load(Ordering::SeqCst) as usize {
            streams.excess.insert(stream);
        }
    }

    fn close(&self, stream: u32) {
        self.streams().open.remove(&stream);
    }

    fn give_up(&self, stream: u32) {
        let mut streams = self.streams();
        streams.open.remove(&stream);
        streams.given_up.insert(stream);
    }

    fn tell(&self, stream: u32) {
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
    fn acknowledge(&self) {
        let mut announced = self.announced();
        if let Some(limit) = announced.pop_front() {
            self.limit.store(announced.iter().copied().fold(limit, u32::max), Ordering::SeqCst);
        }
    }

    fn announced(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A GOAWAY that says that streams above `last` were not processed.
pub(crate) fn go_away(last: u32, code: u32, reason: &str) -> Vec<u8> {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend(code.to_be_bytes());
    payload.extend(format!(r#"{{"reason":"{reason}"}}"#).into_bytes());
    frame(GOAWAY, 0, &payload)
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

/// Passes on until one side ends or the test cuts.
pub(crate) async fn relay<C, S>(client: C, server: S, wire: &Wire, orders: UnboundedReceiver<Order>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    tokio::select! {
        _ = upwards(from_client, to_server, wire) => {}
        _ = downwards(from_server, to_client, wire, orders) => {}
    }
}

async fn upwards<R, W>(mut from: R, mut to: W, wire: &Wire) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut preface = [0; PREFACE];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let mut acknowledged = 0;
    loop {
        let frame = read(&mut from).await?;
        let (kind, flags) = (frame[3], frame[4]);
        match kind {
            HEADERS => wire.open(stream_of(&frame)),
            RST_STREAM => wire.give_up(stream_of(&frame)),
            _ => {}
        }
        if kind == PRIORITY || kind == HEADERS && flags & HAS_PRIORITY != 0 {
            wire.priorities.fetch_add(1, Ordering::SeqCst);
        }
        if kind == PING && flags & ACK == 0 {
            wire.pings.fetch_add(1, Ordering::SeqCst);
        }
        if kind == PING && flags & ACK != 0 && frame[9..] == FAREWELL {
            return Ok(());
        }
        if kind == SETTINGS && flags & ACK != 0 {
            acknowledged += 1;
            if acknowledged > 1 {
                // The library does not know of the announcement that this belongs to.
                wire.acknowledge();
                continue;
            }
        }
        if !wire.mute.load(Ordering::SeqCst) {
            to.write_all(&frame).await?;
        }
    }
}

async fn downwards<R, W>(from: R, mut to: W, wire: &Wire, mut orders: UnboundedReceiver<Order>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // A frame that was begun must not be forgotten when an order comes: so a task of its own reads.
    let (sender, mut frames) = tokio::sync::mpsc::channel(1);
    let reader = async move {
        let mut from = from;
        while let Ok(frame) = read(&mut from).await {
            if sender.send(frame).await.is_err() {
                break;
            }
        }
    };
    let writer = async {
        loop {
            let bytes = tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Say(bytes)) => bytes,
                    Some(Order::Cut) if !wire.mute.load(Ordering::SeqCst) => {
                        to.write_all(&frame(PING, 0, &FAREWELL)).await?;
                        to.flush().await?;
                        // The answer to it ends the connection.
                        return std::future::pending().await;
                    }
                    Some(Order::Cut) | None => return Ok::<(), io::Error>(()),
                },
                heard = frames.recv() => match heard.map(|frame| changed(frame, wire)) {
                    Some(Some(frame)) => frame,
                    Some(None) => continue,
                    None => return Ok(()),
                },
            };
            if !wire.mute.load(Ordering::SeqCst) {
                to.write_all(&bytes).await?;
                to.flush().await?;
                if bytes[3] == HEADERS {
                    wire.tell(stream_of(&bytes));
                }
            }
        }
    };
    // The reader ends first when the library closes; what it has read is still written.
    let reader = async {
        reader.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        written = writer => written,
        () = reader => Ok(()),
    }
}

/// The frame as the client is to see it, if it is.
fn changed(mut frame: Vec<u8>, wire: &Wire) -> Option<Vec<u8>> {
    let stream = stream_of(&frame);
    match frame[3] {
        DATA | HEADERS if stream > wire.last_stream.load(Ordering::SeqCst) => return None,
        DATA | HEADERS if frame[4] & END_STREAM != 0 => wire.close(stream),
        RST_STREAM => wire.close(stream),
        SETTINGS if frame[4] & ACK == 0 => {
            for setting in frame[9..].chunks_exact_mut(6) {
                if setting[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes() {
                    setting[2..].copy_from_slice(&wire.limit.load(Ordering::SeqCst).to_be_bytes());
                }
            }
        }
        _ => {}
    }
    Some(frame)
}

fn stream_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes([frame[5] & 0x7f, frame[6], frame[7], frame[8]])
}

async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 9];
    from.read_exact(&mut frame).await?;
    let length = usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2]);
    frame.resize(9 + length, 0);
    from.read_exact(&mut frame[9..]).await?;
    Ok(frame)
}
