//! `GET /_matrix/identity/v2/hash_details`, `POST /_matrix/identity/v2/lookup`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#association-lookup>
//!
//! Invariant: the keys of `mappings` are the caller's own entries, byte for byte.

use std::collections::HashSet;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::Data;
use foldhash::fast::RandomState;
use serde::Serialize;
use shared::http::body::Body;

use super::auth::Credentials;
use super::input;
use crate::error::Error;
use crate::flows::look_up::{Lookup, look_up};
use crate::json::Object;
use crate::state::State;

/// The body of `POST /lookup`.
fn parse<'a>(fields: &'a Object<'_>) -> Result<Lookup<'a>, Error> {
    fields.require(&["addresses", "algorithm", "pepper"])?;
    Ok(Lookup {
        addresses: fields.strings("addresses")?,
        algorithm: fields.string("algorithm")?,
        pepper: fields.string("pepper")?,
    })
}

/// The body of the response of `POST /lookup`, written entry by entry.
struct Mappings<'a> {
    body: Vec<u8>,
    /// An entry may be repeated, a key may not. A fast hash with a random seed: there may be ten thousand.
    entries: HashSet<&'a str, RandomState>,
}

impl Default for Mappings<'_> {
    fn default() -> Self {
        Self { body: br#"{"mappings":{"#.to_vec(), entries: HashSet::default() }
    }
}

impl<'a> Mappings<'a> {
    fn insert(&mut self, entry: &'a str, mxid: &str) {
        if !self.entries.insert(entry) {
            return;
        }
        if self.entries.len() > 1 {
            self.body.push(b',');
        }
        self.string(entry);
        self.body.push(b':');
        self.string(mxid);
    }

    fn string(&mut self, text: &str) {
        // Writing a string to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.body, text);
    }

    fn into_body(mut self) -> Vec<u8> {
        self.body.extend_from_slice(b"}}");
        self.body
    }
}

/// The response of `GET /hash_details`.
#[derive(Serialize)]
struct HashDetails<'a> {
    lookup_pepper: &'a str,
    algorithms: Vec<&'static str>,
    /// After a rotation: the previous pepper, for which lookups with hashes from before it still work.
    #[serde(skip_serializing_if = "Option::is_none")]
    alt_lookup_peppers: Option<[&'a str; 1]>,
}

/// `GET /hash_details`
pub async fn hash_details(state: Data<State>, credentials: Credentials) -> Result<HttpResponse, Error> {
    credentials.agreed_account(&state).await?;
    let peppers = state.memory.peppers_or_read(&state.store).await?;
    Ok(HttpResponse::Ok().json(HashDetails {
        lookup_pepper: peppers.current().pepper.expose(),
        algorithms: state.config.lookup.algorithms.as_slice().iter().map(|algorithm| algorithm.as_str()).collect(),
        alt_lookup_peppers: peppers.former().map(|former| [former.pepper.expose()]),
    }))
}

/// `POST /lookup`
pub async fn lookup(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    let body = body.read().await;
    let fields = input::object(&body)?;
    let mut mappings = Mappings::default();
    look_up(&state, &account, &parse(&fields)?, |entry, mxid| mappings.insert(entry, mxid)).await?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(mappings.into_body()))
}
