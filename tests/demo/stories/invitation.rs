//! Alice invites an e-mail address; Carol receives the mail, registers, validates and binds the address, and joins the
//! room.
//!
//! Invariant: Carol's homeserver decides whether she joins, after it has verified every signature and the key.

use std::time::Duration;

use serde_json::json;
use shared::random::Random;

use super::account::{accept_terms, register, text, v2};
use super::email::Account;
use crate::narrator::{Failure, Narrator};
use crate::stage::Stage;

const ALICE: &str = "@alice:hs.example";
const CAROL: &str = "@carol:hs.example";
const ADDRESS: &str = "carol@example.org";
const ROOM: &str = "!picnic:hs.example";
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the story.
///
/// # Errors
/// [`Failure`] for the first check that fails.
pub(crate) async fn run(stage: &Stage, account: &Account, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Alice invites an address",
        "The address has no association, so her homeserver stores an invitation and adds its token and keys to the room.",
    );
    let invitation = json!({
        "medium": "email", "address": ADDRESS, "room_id": ROOM, "sender": ALICE,
        "sender_display_name": "Alice", "room_name": "Picnic",
    });
    let call = stage.api.post(&v2("/store-invite"), invitation).bearer(&account.access_token);
    let stored = narrator.ask(call, 200).await?;
    let token = text(&stored, "token")?;
    let shown = text(&stored, "display_name")?;
    narrator.check("the room learns only a masked form of the address", !shown.contains("carol"))?;
    stage.homeserver.set_identity_server("id.example", stage.server.address());
    stage.homeserver.invite_by_address(ROOM, ALICE, &stored);

    narrator.step("The invitation arrives", "Its plain text (it has an HTML part too):");
    let mail = stage.mail.wait_for(ADDRESS, 1, PATIENCE).await;
    let message = mail.message();
    narrator.show(message.text());
    narrator
        .check("it names the sender and the room", ["Alice", "Picnic"].iter().all(|it| message.text().contains(it)))?;

    narrator.step("Carol registers", "At a homeserver and at the identity server.");
    let carol = register(stage, narrator, CAROL).await?;
    accept_terms(stage, narrator, CAROL, &carol, &account.terms).await?;

    narrator.step("Carol validates the address", "By the link in another mail; then she binds it.");
    let client_secret = Random.base62(16);
    let body = json!({ "client_secret": client_secret, "email": ADDRESS, "send_attempt": 1 });
    let answer = narrator.ask(stage.api.post(&v2("/validate/email/requestToken"), body).bearer(&carol), 200).await?;
    let sid = text(&answer, "sid")?;
    let link = stage.mail.wait_for(ADDRESS, 2, PATIENCE).await.message().validation_link();
    narrator
        .open(stage.api.get(&format!("{}?{}&confirm=1", link.path(), link.query().unwrap_or_default())), 200)
        .await?;
    let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": CAROL });
    let association = narrator.ask(stage.api.post(&v2("/3pid/bind"), body).bearer(&carol), 200).await?;
    narrator.check("the response does not name invitations", association.get("invites").is_none())?;

    narrator.step(
        "Her homeserver receives the onbind notification",
        "The identity server retries until the homeserver accepts it. The homeserver verifies signatures and keys.",
    );
    let onbinds = || stage.homeserver.requests_to("/_matrix/federation/v1/3pid/onbind");
    harness::wait::wait_until("Carol to join", PATIENCE, || !stage.homeserver.joins().is_empty()).await;
    for request in onbinds() {
        narrator.show(&format!("{} {}\n{:#}", request.method, request.target, request.json()));
    }
    let join = &stage.homeserver.joins()[0];
    let is_hers = join.mxid == CAROL && join.room_id == ROOM && join.sender == ALICE && join.token == token;
    narrator.check("Carol is in the room that Alice invited her to", is_hers)?;
    narrator.check("one notification sufficed", onbinds().len() == 1 && stage.homeserver.joins().len() == 1)
}
