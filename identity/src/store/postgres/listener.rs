//! Hears at once that another process has changed something, where PostgreSQL's `LISTEN` works.
//!
//! Invariant: an optimization. A process that hears nothing reads the changes from time to time.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tokio_postgres::AsyncMessage;

use super::{ConnectFailure, Connector, direct, failure};

/// The channel of the notifications.
const CHANNEL: &str = "gatehouse_changes";

/// Announces the changes of this process, and hears those of others.
pub(in crate::store) struct Listener {
    connector: Connector,
    /// The payload of the notifications of this process.
    own: String,
    /// Whether notifications work. Behind a pooler they do not arrive.
    is_supported: AtomicBool,
}

/// Why no more notifications arrive.
pub(in crate::store) enum Ended {
    /// The connection leads to a pooler, or the engine has no notifications.
    Unsupported,
    /// The connection ended.
    Lost,
}

impl Listener {
    pub(in crate::store) fn new(connector: Connector, own: String) -> Self {
        Self { connector, own, is_supported: AtomicBool::new(false) }
    }

    /// The statement that announces a change to other processes; none if it would reach none.
    pub(in crate::store) fn announcement(&self) -> Option<String> {
        // The text has letters and digits only.
        self.is_supported.load(Ordering::Relaxed).then(|| format!("select pg_notify('{CHANNEL}', '{}')", self.own))
    }

    /// Calls `heard` when it begins to listen, and for each announcement of another process, until the connection ends.
    ///
    /// # Errors
    /// [`ConnectFailure`].
    pub(in crate::store) async fn listen(&self, heard: impl Fn()) -> Result<Ended, ConnectFailure> {
        let ended = self.connector.within_connect_timeout(self.open()).await?;
        self.is_supported.store(ended.is_some(), Ordering::Relaxed);
        let Some((client, mut messages)) = ended else { return Ok(Ended::Unsupported) };
        heard();
        while let Some(payload) = messages.receiver.recv().await {
            if payload != self.own {
                heard();
            }
        }
        drop(client);
        Ok(Ended::Lost)
    }

    /// A connection that listens; none if notifications do not work.
    async fn open(&self) -> Result<Option<(tokio_postgres::Client, Messages)>, tokio_postgres::Error> {
        let (client, mut connection) = self.connector.target.connect(self.connector.link.tls.clone()).await?;
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message {
                    _ = sender.send(notification.payload().to_owned());
                }
            }
        });
        let messages = Messages { receiver, _driver: driver };
        if !direct::is_direct(&client).await {
            return Ok(None);
        }
        match client.batch_execute(&format!("listen {CHANNEL}")).await {
            Ok(()) => Ok(Some((client, messages))),
            Err(error) if failure::is_transient(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// The payloads that arrive. A drop closes the connection.
struct Messages {
    receiver: tokio::sync::mpsc::UnboundedReceiver<String>,
    _driver: JoinSet<()>,
}
