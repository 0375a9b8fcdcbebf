//! The mail sink: a mail server that accepts every mail and delivers none.
//!
//! Invariant: it follows RFC 5321 and its own offer. It rejects a client that uses an extension without an offer, or
//! sends commands in the wrong order: mail that passes here passes at other servers.

mod encoding;
mod message;
mod session;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use message::{Message, Part};

use crate::certificates::{Authority, Certificate};
use crate::wait::wait_for;

/// A mail server that runs until it is dropped.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    authority: Authority,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// The extensions and the login of the server.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The TLS mode.
    pub tls: Tls,
    /// The required user and password. `None`: it accepts mail without login and offers no AUTH.
    pub credentials: Option<(String, String)>,
    /// Whether it accepts EHLO; if not, it accepts only HELO.
    pub ehlo: bool,
    /// Whether it offers SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// Whether it offers 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
}

/// The TLS mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// No TLS: STARTTLS is neither offered nor accepted.
    None,
    /// STARTTLS is required before mail.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// A point in the dialogue where a reply can be scripted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The greeting.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Recipient,
    /// DATA.
    Data,
    /// The end of the message: the point of delivery.
    EndOfData,
}

/// A scripted reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// This line, for instance `450 4.2.1 come back later`.
    Say(String),
    /// No reply, on a connection that stays open.
    Silence,
    /// The connection is closed.
    Close,
}

/// An accepted mail.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The name in the client's EHLO or HELO.
    pub hello: String,
    /// Whether it arrived over TLS.
    pub tls: bool,
    /// The user of the login.
    pub user: Option<String>,
    /// The sender's address in the envelope.
    pub from: String,
    /// The parameters of MAIL, in upper case: `BODY=8BITMIME`, `SMTPUTF8`.
    pub parameters: Vec<String>,
    /// The recipients in the envelope.
    pub to: Vec<String>,
    /// The message without dot-stuffing.
    pub raw: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    connections: AtomicUsize,
}

#[derive(Debug)]
struct State {
    offer: Offer,
    certificate: Arc<ServerConfig>,
    scripts: HashMap<Stage, VecDeque<Script>>,
    always: HashMap<Stage, Script>,
    mails: Vec<Mail>,
    commands: Vec<String>,
}

impl Default for Offer {
    /// An internal server: no TLS, no login, all extensions.
    fn default() -> Self {
        Self { tls: Tls::None, credentials: None, ehlo: true, smtputf8: true, eight_bit_mime: true }
    }
}

impl Sink {
    /// Starts a server with this offer and a certificate for `localhost` and 127.0.0.1 from its own authority.
    pub async fn start(offer: Offer) -> Self {
        Self::start_with(offer, &Authority::new("the mail server's authority")).await
    }

    /// Like [`Sink::start`], with a certificate from `authority`.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start_with(offer: Offer, authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = State {
            offer,
            certificate: authority.issue(&["localhost", "127.0.0.1"]).server_config(&[]),
            scripts: HashMap::new(),
            always: HashMap::new(),
            mails: Vec::new(),
            commands: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), connections: AtomicUsize::new(0) });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, authority: authority.clone(), address, task }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority of its certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The lines of an `[email]` section for this server, without its header, `from` and credentials.
    pub fn config(&self) -> String {
        let tls = match self.shared.lock().offer.tls {
            Tls::None => "none",
            Tls::StartTls => "starttls",
            Tls::Implicit => "tls",
        };
        format!("host = \"localhost\"\nport = {}\ntls = \"{tls}\"\n", self.address.port())
    }

    /// Changes the offer from the next connection on.
    pub fn set_offer(&self, offer: Offer) {
        self.shared.lock().offer = offer;
    }

    /// Presents `certificate` from the next handshake on.
    pub fn set_certificate(&self, certificate: &Certificate) {
        self.shared.lock().certificate = certificate.server_config(&[]);
    }

    /// The next requests at `stage` get these replies, one each; later ones get the default.
    pub fn script(&self, stage: Stage, answers: impl IntoIterator<Item = Script>) {
        self.shared.lock().scripts.entry(stage).or_default().extend(answers);
    }

    /// Every request at `stage` gets this reply, until [`Sink::mend`].
    pub fn always(&self, stage: Stage, answer: Script) {
        self.shared.lock().always.insert(stage, answer);
    }

    /// Removes every script.
    pub fn mend(&self) {
        let mut state = self.shared.lock();
        state.scripts.clear();
        state.always.clear();
    }

    /// The number of opened connections.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The commands so far, without the arguments of AUTH.
    pub fn commands(&self) -> Vec<String> {
        self.shared.lock().commands.clone()
    }

    /// The accepted mails so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.lock().mails.clone()
    }

    /// The accepted mails so far for `address`.
    pub fn mails_to(&self, address: &str) -> Vec<Mail> {
        self.shared.lock().mails.iter().filter(|mail| mail.to.iter().any(|to| to == address)).cloned().collect()
    }

    /// Removes and returns the newest mail to `address`. The others stay, so thousands of mails stay cheap.
    pub fn take_to(&self, address: &str) -> Option<Mail> {
        let mut state = self.shared.lock();
        let at = state.mails.iter().rposition(|mail| mail.to.iter().any(|to| to == address))?;
        Some(state.mails.remove(at))
    }

    /// Waits for the `n`th mail to `address`; the first is 1.
    ///
    /// # Panics
    /// If it does not arrive within `deadline`.
    pub async fn wait_for(&self, address: &str, n: usize, deadline: Duration) -> Mail {
        assert!(n > 0, "the first mail is number 1");
        let what = format!("mail {n} to {address}");
        wait_for(&what, deadline, async || self.mails_to(address).into_iter().nth(n - 1)).await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    /// A scripted reply with this line.
    pub fn say(line: &str) -> Self {
        Self::Say(line.to_owned())
    }
}

impl Mail {
    /// The parsed message.
    ///
    /// # Panics
    /// If it is malformed.
    pub fn message(&self) -> Message {
        Message::parse(&self.raw)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_script(&mut self, stage: Stage) -> Option<Script> {
        let next = self.scripts.get_mut(&stage).and_then(VecDeque::pop_front);
        next.or_else(|| self.always.get(&stage).cloned())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        sessions.spawn(session::run(stream, Arc::clone(&shared)));
        while sessions.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests;
