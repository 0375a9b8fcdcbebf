//! The rooms of a homeserver as far as invitations by address go: the invitation in a room's state, `onbind` from an
//! identity server, the exchange for a real invitation between homeservers, and who joined by it.
//! (Server-server API, `PUT /3pid/onbind` and `PUT /exchange_third_party_invite/{roomId}`; homeservers that run take
//! `onbind` by POST.)
//!
//! Invariant: every invitation goes through `admission.rs`, at the homeserver of its room.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::admission::{Invitation, Refusal, admit, bad, check_identity_server, forbidden, unreachable_server};
use super::{Homeserver, Request, World, host};

pub(super) const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";
pub(super) const EXCHANGE: &str = "/_matrix/federation/v1/exchange_third_party_invite/";

/// A user who joined a room by an invitation of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The room.
    pub room_id: String,
    /// Who joined.
    pub mxid: String,
    /// Who had invited the address.
    pub sender: String,
    /// The invitation's token.
    pub token: String,
}

/// What a homeserver knows of rooms.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    invitations: HashMap<String, Invitation>,
    joins: Vec<Join>,
    refused: HashMap<String, (u16, &'static str)>,
    only_put: bool,
    pub(super) identity_servers: HashMap<String, SocketAddr>,
    peers: HashMap<String, Peer>,
}

/// Another homeserver.
#[derive(Clone, Debug)]
struct Peer {
    url: String,
    client: reqwest::Client,
}

impl Homeserver {
    /// Puts an invitation of an address into the state of `room_id`, as a homeserver does with the reply of
    /// `store-invite`.
    ///
    /// # Panics
    /// If `stored` is no such reply.
    pub fn invite_by_address(&self, room_id: &str, sender: &str, stored: &Value) {
        let public_keys = stored["public_keys"].as_array().expect("keys").clone();
        assert!(!public_keys.is_empty() && stored["display_name"].is_string(), "{stored}");
        let invitation = Invitation { room_id: room_id.to_owned(), sender: sender.to_owned(), public_keys };
        let token = stored["token"].as_str().expect("a token").to_owned();
        self.world.state().rooms.invitations.insert(token, invitation);
    }

    /// Who has joined by an invitation of an address so far, in their order; a repeated join counts again.
    pub fn joins(&self) -> Vec<Join> {
        self.world.state().rooms.joins.clone()
    }

    /// Where the identity server `name` is, for questions to `http://name` and for its signatures. One whose name is an
    /// address is found without.
    pub fn set_identity_server(&self, name: &str, address: SocketAddr) {
        self.world.state().rooms.identity_servers.insert(name.to_owned(), address);
    }

    /// Lets this homeserver find `other`.
    ///
    /// # Panics
    /// If there is no client for it.
    pub fn federate_with(&self, other: &Self) {
        let authority = reqwest::Certificate::from_pem(other.authority().pem().as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
        let client = client.resolve(host(other.name()), other.address()).build().expect("a client");
        let url = format!("https://{}:{}", host(other.name()), other.address().port());
        self.world.state().rooms.peers.insert(other.name().to_owned(), Peer { url, client });
    }

    /// Takes `onbind` by PUT from now on, as the specification's API description has it, and knows no POST.
    pub fn take_onbind_by_put(&self) {
        self.world.state().rooms.only_put = true;
    }

    /// Refuses the invitation of this token whenever it comes.
    pub fn refuse_invitation(&self, token: &str, status: u16, errcode: &'static str) {
        self.world.state().rooms.refused.insert(token.to_owned(), (status, errcode));
    }

    /// Takes back every [`Homeserver::refuse_invitation`].
    pub fn refuse_nothing(&self) {
        self.world.state().rooms.refused.clear();
    }
}

impl Rooms {
    pub(super) fn takes_onbind_by(&self, method: &str) -> bool {
        method == if self.only_put { "PUT" } else { "POST" }
    }
}

/// A client for questions to identity servers.
pub(super) fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20));
    client.build().expect("a client with fixed settings")
}

/// An address of one of our users is bound: they join by each invitation of the address. Of several failures the last one
/// is the response.
pub(super) async fn onbind(world: &World, request: &Request) -> (StatusCode, Value) {
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return refuse((400, "M_NOT_JSON", "no JSON".to_owned()));
    };
    let text = |name: &str| body[name].as_str().ok_or_else(|| bad(name));
    let whole = async {
        let mxid = text("mxid")?;
        if !mxid.ends_with(&format!(":{}", world.name)) {
            return Err(forbidden("not a user of this homeserver"));
        }
        let (medium, address) = (text("medium")?, text("address")?);
        for name in ["ts", "not_before", "not_after"] {
            body[name].as_i64().ok_or_else(|| bad(name))?;
        }
        check_identity_server(world, &body).await?;
        let mut last = Ok(());
        for invite in body["invites"].as_array().ok_or_else(|| bad("invites"))? {
            if (&invite["mxid"], &invite["medium"], &invite["address"])
                != (&json!(mxid), &json!(medium), &json!(address))
            {
                last = Err(forbidden("an invitation of another address"));
                continue;
            }
            if let Err(refusal) = take(world, mxid, invite).await {
                last = Err(refusal);
            }
        }
        last
    };
    match whole.await {
        Ok(()) => (StatusCode::OK, json!({})),
        Err(refusal) => refuse(refusal),
    }
}

/// Another homeserver's user has an invitation into a room of ours.
pub(super) async fn exchange(world: &World, request: &Request) -> (StatusCode, Value) {
    let Ok(event) = serde_json::from_slice::<Value>(&request.body) else {
        return refuse((400, "M_NOT_JSON", "no JSON".to_owned()));
    };
    let exchanged = async {
        let mxid = event["state_key"].as_str().ok_or_else(|| bad("state_key"))?;
        let signed = &event["content"]["third_party_invite"]["signed"];
        let token = signed["token"].as_str().ok_or_else(|| bad("token"))?;
        let invitation = world.state().rooms.invitations.get(token).cloned();
        let invitation = invitation.ok_or_else(|| forbidden("there is no such invitation"))?;
        admit(world, &invitation, mxid, &event["room_id"], &event["sender"], signed).await
    };
    match exchanged.await {
        Ok(()) => (StatusCode::OK, json!({})),
        Err(refusal) => refuse(refusal),
    }
}

/// One invitation of a user of ours: into a room of ours, or into one of its sender's homeserver.
async fn take(world: &World, mxid: &str, invite: &Value) -> Result<(), Refusal> {
    let text = |name: &str| invite[name].as_str().ok_or_else(|| bad(name));
    let (token, room_id, sender) = (text("token")?, text("room_id")?, text("sender")?);
    let (refused, invitation, peer) = {
        let rooms = &world.state().rooms;
        let server = sender.split_once(':').map_or("", |(_, server)| server);
        (rooms.refused.get(token).copied(), rooms.invitations.get(token).cloned(), rooms.peers.get(server).cloned())
    };
    if let Some((status, errcode)) = refused {
        return Err((status, errcode, "refused on purpose".to_owned()));
    }
    let signed = &invite["signed"];
    if signed["token"] != token {
        return Err(forbidden("signed for another token"));
    }
    match (invitation, peer) {
        (Some(invitation), _) => {
            admit(world, &invitation, mxid, &invite["room_id"], &invite["sender"], signed).await?;
        }
        (None, Some(peer)) => ask(&peer, mxid, room_id, sender, signed).await?,
        (None, None) => return Err(forbidden("there is no such invitation")),
    }
    let (room_id, sender) = (room_id.to_owned(), sender.to_owned());
    world.state().rooms.joins.push(Join { room_id, mxid: mxid.to_owned(), sender, token: token.to_owned() });
    Ok(())
}

/// Asks the homeserver of a room to let our user in.
async fn ask(peer: &Peer, mxid: &str, room_id: &str, sender: &str, signed: &Value) -> Result<(), Refusal> {
    let third_party_invite = json!({ "display_name": "b...@e...", "signed": signed });
    let event = json!({
        "type": "m.room.member", "state_key": mxid, "sender": sender, "room_id": room_id,
        "content": { "membership": "invite", "third_party_invite": third_party_invite },
    });
    let room: String = url::form_urlencoded::byte_serialize(room_id.as_bytes()).collect();
    let url = format!("{}{EXCHANGE}{room}", peer.url);
    let answer = peer.client.put(url).body(event.to_string()).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) if answer.status().as_u16() == 403 => Err(forbidden("the room's homeserver refuses")),
        _ => Err(unreachable_server("the room's homeserver does not help")),
    }
}

fn refuse((status, errcode, error): Refusal) -> (StatusCode, Value) {
    (StatusCode::from_u16(status).expect("a status"), json!({ "errcode": errcode, "error": error }))
}
