//! One connection to a fake service.
//!
//! Invariant: no GOAWAY leaves out a stream whose request the service accepted before.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::relay::{self, Order};
use super::wire::Wire;

/// One connection, for the requests on it and for the test.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Counted from 1.
    pub(crate) number: usize,
    /// The name in the TLS handshake.
    pub(crate) sni: Option<String>,
    pub(crate) wire: Wire,
    orders: UnboundedSender<Order>,
    /// The highest stream with an accepted request.
    processed: Mutex<u32>,
    /// Ends the connection gracefully.
    pub(super) go_away: Notify,
}

impl Connection {
    /// A connection whose client may open `streams` streams, and the orders for its relay.
    pub(super) fn new(number: usize, sni: Option<String>, streams: u32) -> (Self, UnboundedReceiver<Order>) {
        let (orders, received) = unbounded_channel();
        let wire = Wire::new(streams);
        (Self { number, sni, wire, orders, processed: Mutex::new(0), go_away: Notify::new() }, received)
    }

    /// Marks the stream as processed, unless a GOAWAY has left it out; returns whether it is processed.
    pub(crate) fn process(&self, stream: u32) -> bool {
        let mut processed = self.processed();
        let is_left_out = stream > self.wire.last_stream.load(Ordering::SeqCst);
        if !is_left_out {
            *processed = stream.max(*processed);
        }
        !is_left_out
    }

    /// Sends the first GOAWAY of two, and waits until the client acknowledges it. The number in a GOAWAY never rises, so
    /// nothing is sent after another GOAWAY.
    pub(crate) async fn announce_end(&self, reason: &str) {
        {
            let _order_of_frames = self.processed();
            if self.wire.last_stream.load(Ordering::SeqCst) != u32::MAX {
                return;
            }
            self.order(Order::Write(relay::go_away(i32::MAX as u32, 0, reason)));
        }
        self.acknowledged().await;
    }

    /// Leaves out this stream and those above it, if none of them was processed; returns the last stream that stays.
    pub(crate) fn leave_out(&self, stream: u32, reason: &str) -> u32 {
        let processed = self.processed();
        let last = stream.saturating_sub(2).max(*processed).min(self.wire.last_stream.load(Ordering::SeqCst));
        self.go_away_above(last, reason);
        last
    }

    /// Sends a GOAWAY: streams above `last` were not processed, the others get their responses.
    pub(crate) fn go_away_above(&self, last: u32, reason: &str) {
        self.wire.last_stream.store(last, Ordering::SeqCst);
        self.order(Order::Write(relay::go_away(last, 0, reason)));
    }

    /// Allows this many streams from now on.
    pub(crate) fn announce_streams(&self, limit: u32) {
        self.order(Order::Write(self.wire.announce(limit)));
    }

    /// Closes the connection when the client has received everything that was written before.
    pub(crate) fn close(&self) {
        self.order(Order::Close);
    }

    /// Waits until the client has received everything that was written before, or the connection has ended.
    async fn acknowledged(&self) {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Acknowledge(sender));
        drop(receiver.await);
    }

    fn order(&self, order: Order) {
        // A connection that has ended takes no orders.
        drop(self.orders.send(order));
    }

    fn processed(&self) -> MutexGuard<'_, u32> {
        self.processed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
