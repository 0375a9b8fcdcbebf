//! The checks of a homeserver before a user joins a room by an invitation of an address.
//!
//! Invariant: a user joins only with a signature of a key that is in the room's state and of which its identity
//! server says, while the request waits, that it is valid.

use serde_json::Value;
use url::Url;

use super::World;
use super::signing::is_signed;

/// Why a user does not join: status, errcode, text.
pub(super) type Refusal = (u16, &'static str, String);

/// `m.room.third_party_invite` of a room's state.
#[derive(Clone, Debug)]
pub(super) struct Invitation {
    pub(super) room_id: String,
    pub(super) sender: String,
    pub(super) public_keys: Vec<Value>,
}

/// The checks of a homeserver before a user joins a room by an invitation in its state.
pub(super) async fn admit(
    world: &World,
    invitation: &Invitation,
    mxid: &str,
    room_id: &Value,
    sender: &Value,
    signed: &Value,
) -> Result<(), Refusal> {
    if *room_id != invitation.room_id || *sender != invitation.sender {
        return Err(forbidden("an invitation into another room or by another sender"));
    }
    let members = signed.as_object().map(|members| members.keys().map(String::as_str).collect::<Vec<_>>());
    if signed["mxid"] != mxid || members.is_none_or(|members| members != ["mxid", "signatures", "token"]) {
        return Err(forbidden("signed for another user or another token"));
    }
    let signatures = signed["signatures"].as_object().into_iter().flat_map(|servers| servers.values());
    let signatures: Vec<&str> =
        signatures.filter_map(Value::as_object).flat_map(|keys| keys.values()).filter_map(Value::as_str).collect();
    let signer = invitation.public_keys.iter().find(|key| {
        let key = key["public_key"].as_str().unwrap_or_default();
        signatures.iter().any(|signature| is_signed(signed, signature, key))
    });
    let signer = signer.ok_or_else(|| forbidden("signed by no key of the room"))?;
    let validity = signer["key_validity_url"].as_str().ok_or_else(|| bad("key_validity_url"))?;
    let mut url = Url::parse(validity).map_err(|_| bad("key_validity_url"))?;
    url.query_pairs_mut().append_pair("public_key", signer["public_key"].as_str().unwrap_or_default());
    let answer = ask_identity_server(world, &url).await?;
    if answer["valid"] == true { Ok(()) } else { Err(forbidden("the key is not valid")) }
}

/// The outer signature, of a key that the identity server publishes under its id.
pub(super) async fn check_identity_server(world: &World, body: &Value) -> Result<(), Refusal> {
    let servers =
        body["signatures"].as_object().filter(|servers| !servers.is_empty()).ok_or_else(|| bad("signatures"))?;
    for (name, keys) in servers {
        for (id, signature) in keys.as_object().filter(|keys| !keys.is_empty()).ok_or_else(|| bad("signatures"))? {
            let url = format!("http://{name}/_matrix/identity/v2/pubkey/{id}");
            let url = Url::parse(&url).map_err(|_| bad("signatures"))?;
            let answer = ask_identity_server(world, &url).await?;
            let key = answer["public_key"].as_str().ok_or_else(|| forbidden("the identity server has no such key"))?;
            if !is_signed(body, signature.as_str().unwrap_or_default(), key) {
                return Err(forbidden("the signature does not fit"));
            }
        }
    }
    Ok(())
}

async fn ask_identity_server(world: &World, url: &Url) -> Result<Value, Refusal> {
    let authority = url.authority().to_owned();
    let known = world.state().rooms.identity_servers.get(&authority).copied();
    let address = known.or_else(|| authority.parse().ok());
    let address = address.ok_or_else(|| unreachable_server("the identity server has no known address"))?;
    let place = format!("http://{address}{}", &url[url::Position::BeforePath..]);
    let failed = |_| unreachable_server("the identity server does not answer");
    let answer = world.client.get(place).header("host", authority).send().await.map_err(failed)?;
    let text = answer.text().await.map_err(failed)?;
    serde_json::from_str(&text).map_err(|_| unreachable_server("the identity server sends no JSON"))
}

pub(super) fn bad(name: &str) -> Refusal {
    (400, "M_INVALID_PARAM", format!("{name} is missing or wrong"))
}

pub(super) fn forbidden(text: &str) -> Refusal {
    (403, "M_FORBIDDEN", text.to_owned())
}

pub(super) fn unreachable_server(text: &str) -> Refusal {
    (502, "M_UNKNOWN", text.to_owned())
}
