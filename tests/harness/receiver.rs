//! A fake receiver of `type = "http"` over TLS: a push gateway of someone else, or a webhook. It verifies the signature of each
//! request as the documentation asks of receivers, until a test sets an answer.
//!
//! Invariant: it listens on 127.0.0.1 alone, and every request that reaches it is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use serde_json::{Value, json};
use shared::clock::Clock;

use crate::certificates::Authority;
use crate::fake::{Faults, HttpServer, Reaction, Recorded, Service, Socket};

pub use crate::fake::{Reply, Request};

/// The oldest signature that counts, in seconds.
const MAX_AGE: i64 = 300;

/// A receiver that runs until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    world: Arc<World>,
    server: HttpServer,
}

#[derive(Debug)]
struct World {
    /// The secret; without one, signatures are not asked for.
    secret: Mutex<Option<String>>,
    answers: Mutex<Faults<(), Answer>>,
}

/// What a test sets instead of the right answer.
#[derive(Clone, Debug)]
enum Answer {
    Reply(Reply),
    Close,
}

impl Receiver {
    /// Starts one with a certificate of `authority`.
    pub async fn start(authority: &Authority) -> Self {
        let socket = Socket::bind("127.0.0.1:0").await;
        let world = Arc::new(World { secret: Mutex::default(), answers: Mutex::default() });
        let tls = authority.issue(&["127.0.0.1", "localhost"]).server_config(&["h2", "http/1.1"]);
        let server = socket.serve(Some(tls), Arc::clone(&world));
        Self { world, server }
    }

    /// The URL of its endpoint.
    pub fn url(&self) -> String {
        format!("https://{}/_matrix/push/v1/notify", self.server.address)
    }

    /// Accepts only requests that are signed with this secret.
    pub fn set_secret(&self, secret: &str) {
        *lock(&self.world.secret) = Some(secret.to_owned());
    }

    /// Answers the next `times` requests by `reply`; all of them with `None`.
    pub fn answer(&self, times: Option<usize>, reply: Reply) {
        lock(&self.world.answers).add((), Answer::Reply(reply), times);
    }

    /// Closes the connection instead of the next `times` answers.
    pub fn close(&self, times: usize) {
        lock(&self.world.answers).add((), Answer::Close, Some(times));
    }

    /// Takes back every answer of the test.
    pub fn mend(&self) {
        lock(&self.world.answers).clear();
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.core.requests()
    }

    /// The requests for this pushkey so far.
    pub fn requests_for(&self, pushkey: &str) -> Vec<Request> {
        self.server.core.requests_if(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            body["notification"]["devices"][0]["pushkey"] == pushkey
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service for World {
    async fn react(&self, request: Recorded<'_>) -> Reaction {
        match lock(&self.answers).next(|()| true) {
            Some(Answer::Reply(reply)) => return Reaction::Reply(reply),
            Some(Answer::Close) => return Reaction::Close,
            None => {}
        }
        let secret = lock(&self.secret).clone();
        if secret.is_some_and(|secret| !is_signed(&request, &secret)) {
            return Reaction::Reply(Reply::json(401, json!({ "errcode": "M_UNAUTHORIZED", "error": "signature" })));
        }
        if request.header("content-type") != Some("application/json") {
            return Reaction::Reply(Reply::json(400, json!({ "errcode": "M_NOT_JSON", "error": "Content-Type" })));
        }
        request.accept();
        Reaction::Reply(Reply::json(200, json!({ "rejected": [] })))
    }
}

/// Whether one of the signatures is right and recent.
fn is_signed(request: &Request, secret: &str) -> bool {
    let Some(header) = request.header("x-push-signature") else { return false };
    let mut parts = header.split(',');
    let Some(time) = parts.next().and_then(|part| part.strip_prefix("t=")) else { return false };
    let now = Clock::system().now().as_millis() / 1000;
    if !time.parse::<i64>().is_ok_and(|time| (now - time).abs() <= MAX_AGE) {
        return false;
    }
    let key = hmac::Key::new(HMAC_SHA256, secret.as_bytes());
    let signed = [time.as_bytes(), b".", &request.body].concat();
    let expected: String = hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    parts.any(|part| part.strip_prefix("v1=") == Some(&expected))
}
