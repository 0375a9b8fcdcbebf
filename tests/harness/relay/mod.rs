//! The wire between a client and the HTTP/2 library of a fake: passes frames on, says what the library cannot be made to
//! say, and knows which answers the client has heard.
//!
//! Invariant: frames are passed on whole and in order, so that what a test puts between them is read as a frame; a
//! connection that the test cuts ends only when the client has read all that was passed on.

mod wire;

use std::io;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;

pub(crate) use wire::Wire;

const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// What the last PING before a cut says.
const FAREWELL: [u8; 8] = *b"farewell";
const END_STREAM: u8 = 1;
const HAS_PRIORITY: u8 = 0x20;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// What the wire is to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Says this between two frames.
    Say(Vec<u8>),
    /// Says nothing more, and cuts the connection when everything said before has arrived; the rest is lost for certain.
    Cut,
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
