//! The relay between a client and the HTTP/2 library of a fake: passes frames on, writes frames that the library cannot
//! write, and records which responses the client receives.
//!
//! Invariant: frames pass whole and in order, so the client reads an inserted frame as a frame; a connection that the
//! test closes ends when the client has acknowledged everything before.

use std::io;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;

use tokio::sync::oneshot;

use super::frame::{
    ACK, DATA, END_STREAM, GOAWAY, HAS_PRIORITY, HEADERS, MAX_CONCURRENT_STREAMS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, frame,
};
use super::wire::Wire;

/// The PING that asks the client whether it has received everything before.
const ACKNOWLEDGE: [u8; 8] = *b"received";

/// The last PING before the connection closes.
const FAREWELL: [u8; 8] = *b"farewell";

/// What the relay does between two frames.
#[derive(Debug)]
pub(super) enum Order {
    /// Writes these frames.
    Write(Vec<u8>),
    /// Sends a signal when the client has received everything that was written before.
    Acknowledge(oneshot::Sender<()>),
    /// Writes nothing more, and closes the connection when the client has received everything that was written before.
    Close,
}

/// A GOAWAY: streams above `last` were not processed.
pub(super) fn go_away(last: u32, code: u32, reason: &str) -> Vec<u8> {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend(code.to_be_bytes());
    payload.extend(format!(r#"{{"reason":"{reason}"}}"#).into_bytes());
    frame(GOAWAY, 0, &payload)
}

/// Passes frames on until one side ends or the test closes the connection.
pub(super) async fn relay<C, S>(client: C, server: S, wire: &Wire, orders: UnboundedReceiver<Order>)
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
            RST_STREAM => wire.abandon(stream_of(&frame)),
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
        if kind == PING && flags & ACK != 0 && frame[9..] == ACKNOWLEDGE {
            wire.acknowledge_ping();
            continue;
        }
        if kind == SETTINGS && flags & ACK != 0 {
            acknowledged += 1;
            if acknowledged > 1 {
                // The library did not write the SETTINGS that this frame acknowledges.
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
    // An order must not interrupt the reading of a frame: a future of its own reads.
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
                    Some(Order::Write(bytes)) => bytes,
                    Some(Order::Acknowledge(sender)) => {
                        wire.wait(sender);
                        frame(PING, 0, &ACKNOWLEDGE)
                    }
                    Some(Order::Close) if !wire.mute.load(Ordering::SeqCst) => {
                        to.write_all(&frame(PING, 0, &FAREWELL)).await?;
                        to.flush().await?;
                        // Its acknowledgement ends the connection.
                        return std::future::pending().await;
                    }
                    Some(Order::Close) | None => return Ok::<(), io::Error>(()),
                },
                read = frames.recv() => match read.map(|frame| changed(frame, wire)) {
                    Some(Some(frame)) => frame,
                    Some(None) => continue,
                    None => return Ok(()),
                },
            };
            if !wire.mute.load(Ordering::SeqCst) {
                to.write_all(&bytes).await?;
                to.flush().await?;
                if bytes[3] == HEADERS {
                    wire.answer(stream_of(&bytes));
                }
            }
        }
    };
    // The reader ends first when the library closes; the writer still writes what was read.
    let reader = async {
        reader.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        written = writer => written,
        () = reader => Ok(()),
    }
}

/// What the client receives instead of this frame of the library.
fn changed(mut frame: Vec<u8>, wire: &Wire) -> Option<Vec<u8>> {
    let stream = stream_of(&frame);
    match frame[3] {
        DATA | HEADERS if frame[4] & END_STREAM != 0 && wire.breaks_off(stream) => {
            frame[4] &= !END_STREAM;
            frame.extend(reset(stream));
            wire.close(stream);
        }
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

/// RST_STREAM with `INTERNAL_ERROR`.
fn reset(stream: u32) -> Vec<u8> {
    let mut reset = frame(RST_STREAM, 0, &super::INTERNAL_ERROR.to_be_bytes());
    reset[5..9].copy_from_slice(&stream.to_be_bytes());
    reset
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
