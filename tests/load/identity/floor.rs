//! The floor of a lookup: a handler that parses the same body, decodes the hashes, probes a table of the same size and
//! writes the same answer, without tokens, limits, log and metrics.
//!
//! Invariant: it is written as one would write it without a thought for speed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use actix_web::web::{self, Bytes, Data};
use actix_web::{HttpResponse, error};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::fill::Filling;
use crate::bare;

/// The argument that makes this program the bare handler; the number of associations and the pepper follow.
pub(crate) const BARE_LOOKUP: &str = "bare-lookup";

type Table = HashMap<[u8; 32], String>;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    addresses: Vec<Cow<'a, str>>,
    #[expect(dead_code, reason = "parsed as the server does")]
    algorithm: &'a str,
    pepper: &'a str,
}

#[derive(Serialize)]
struct Answer<'a> {
    mappings: HashMap<&'a str, &'a str>,
}

/// The bare handler: `ASSOCIATIONS PEPPER`.
///
/// # Errors
/// If the arguments are wrong, or it cannot listen.
pub(crate) fn bare_lookup(arguments: &[&str]) -> io::Result<bool> {
    let [associations, pepper] = arguments else { return Err(io::ErrorKind::InvalidInput.into()) };
    let filling = Filling::new(associations.parse().map_err(io::Error::other)?, pepper);
    let table: Table = filling.rows().map(|(_, mxid, digest)| (digest.try_into().unwrap_or_default(), mxid)).collect();
    let (table, pepper) = (Data::new(table), Data::new((*pepper).to_owned()));
    bare::serve(move |config| {
        // A lookup of ten thousand hashes has 460 KB.
        config.app_data(web::PayloadConfig::new(1 << 20));
        config.app_data(table.clone()).app_data(pepper.clone());
        config.route("/_matrix/identity/v2/lookup", web::post().to(lookup));
    })
}

async fn lookup(table: Data<Table>, pepper: Data<String>, body: Bytes) -> Result<HttpResponse, error::Error> {
    let request: Request<'_> = serde_json::from_slice(&body)?;
    if request.pepper != pepper.as_str() {
        return Err(error::ErrorBadRequest("pepper"));
    }
    let mut mappings = HashMap::new();
    for entry in &request.addresses {
        let mut digest = [0; 32];
        if URL_SAFE_NO_PAD.decode_slice(entry.as_bytes(), &mut digest).is_ok()
            && let Some(mxid) = table.get(&digest)
        {
            mappings.insert(entry.as_ref(), mxid.as_str());
        }
    }
    Ok(HttpResponse::Ok().json(Answer { mappings }))
}
