//! Alice invites somebody of whom she knows only an e-mail address; Carol gets the mail, takes an account, proves that the
//! address is hers, and is in the room.
//!
//! Invariant: that she is in the room is what her homeserver says, which has checked every signature and asked whether the
//! key is valid.

use std::time::Duration;

use serde_json::json;
use shared::random::Random;

use super::account::{accept_terms, register, text, v2};
use super::email::Left;
use crate::narrator::{Failure, Narrator};
use crate::stage::Stage;

const ALICE: &str = "@alice:hs.example";
const CAROL: &str = "@carol:hs.example";
const ADDRESS: &str = "carol@example.org";
const ROOM: &str = "!picnic:hs.example";
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells it.
///
/// # Errors
/// [`Failure`] for the first answer that is not as it should be.
pub(crate) async fn tell(stage: &Stage, left: &Left, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Alice invites an address",
        "Nobody has bound it, so her homeserver stores an invitation, and puts the token and the keys into the room.",
    );
    let invitation = json!({
        "medium": "email", "address": ADDRESS, "room_id": ROOM, "sender": ALICE,
        "sender_display_name": "Alice", "room_name": "Picnic",
    });
    let call = stage.api.post(&v2("/store-invite"), invitation).bearer(&left.access_token);
    let stored = narrator.ask(call, 200).await?;
    let token = text(&stored, "token")?;
    let shown = text(&stored, "display_name")?;
    narrator.check("the room learns too little of the address to write there", !shown.contains("carol"))?;
    stage.homeserver.set_identity_server("id.example", stage.server.address());
    stage.homeserver.invite_by_address(ROOM, ALICE, &stored);

    narrator.step("The invitation arrives", "As plain text (there is HTML too):");
    let mail = stage.mail.wait_for(ADDRESS, 1, PATIENCE).await;
    let message = mail.message();
    narrator.show(message.text());
    narrator
        .check("it says who invites, and where to", ["Alice", "Picnic"].iter().all(|it| message.text().contains(it)))?;

    narrator.step("Carol takes an account", "At a homeserver that she likes, and here.");
    let carol = register(stage, narrator, CAROL).await?;
    accept_terms(stage, narrator, CAROL, &carol, &left.terms).await?;

    narrator.step("She proves that the address is hers", "By the link in another mail, and publishes it.");
    let client_secret = Random.base62(16);
    let body = json!({ "client_secret": client_secret, "email": ADDRESS, "send_attempt": 1 });
    let answer = narrator.ask(stage.api.post(&v2("/validate/email/requestToken"), body).bearer(&carol), 200).await?;
    let sid = text(&answer, "sid")?;
    let link = stage.mail.wait_for(ADDRESS, 2, PATIENCE).await.message().validation_link();
    narrator.open(stage.api.get(&format!("{}?{}", link.path(), link.query().unwrap_or_default())), 200).await?;
    let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": CAROL });
    let association = narrator.ask(stage.api.post(&v2("/3pid/bind"), body).bearer(&carol), 200).await?;
    narrator.check("the answer does not tell her of invitations", association.get("invites").is_none())?;

    narrator.step(
        "Her homeserver hears of it",
        "Not from her: the identity server tells it, as often as it takes. It checks the signatures and asks back.",
    );
    let news = || stage.homeserver.requests_to("/_matrix/federation/v1/3pid/onbind");
    harness::wait::wait_until("Carol to join", PATIENCE, || !stage.homeserver.joins().is_empty()).await;
    for request in news() {
        narrator.show(&format!("{} {}\n{:#}", request.method, request.target, request.json()));
    }
    let join = &stage.homeserver.joins()[0];
    let is_hers = join.mxid == CAROL && join.room_id == ROOM && join.sender == ALICE && join.token == token;
    narrator.check("Carol is in the room that Alice invited her to", is_hers)?;
    narrator.check("one message was enough", news().len() == 1 && stage.homeserver.joins().len() == 1)
}
