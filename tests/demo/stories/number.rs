//! Alice validates a telephone number by the code of an SMS and binds it; Dave finds her by it.
//!
//! Invariant: the code is read from the message that the provider received.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::random::Random;

use super::account::{accept_terms, register, text, v2};
use super::email::Account;
use crate::narrator::{Failure, Narrator};
use crate::stage::Stage;

const ALICE: &str = "@alice:hs.example";
const DAVE: &str = "@dave:hs.example";
/// A number that Ofcom reserves for drama.
const DIALLED: &str = "07700 900001";
const NUMBER: &str = "447700900001";

/// Runs the story.
///
/// # Errors
/// [`Failure`] for the first check that fails.
pub(crate) async fn run(stage: &Stage, account: &Account, narrator: &mut Narrator) -> Result<(), Failure> {
    let alice = &account.access_token;
    let (sid, client_secret) = ask_for_code(stage, narrator, alice).await?;
    submit_code(stage, narrator, alice, &sid, &client_secret).await?;

    narrator.step("Alice binds the number", "In the same way as an e-mail address.");
    let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": ALICE });
    let association = narrator.ask(stage.api.post(&v2("/3pid/bind"), body).bearer(alice), 200).await?;
    let named = association["mxid"] == ALICE && association["address"] == NUMBER;
    narrator.check(&format!("the association names {NUMBER} and {ALICE}"), named)?;

    narrator.step("Dave has Alice's number in his address book", "He registers, and his client sends a hash.");
    let dave = register(stage, narrator, DAVE).await?;
    accept_terms(stage, narrator, DAVE, &dave, &account.terms).await?;
    let details = narrator.ask(stage.api.get(&v2("/hash_details")).bearer(&dave), 200).await?;
    let pepper = text(&details, "lookup_pepper")?;
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{NUMBER} msisdn {pepper}")));
    let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
    let answer = narrator.ask(stage.api.post(&v2("/lookup"), body).bearer(&dave), 200).await?;
    narrator.check(&format!("he finds {ALICE}"), answer["mappings"][&hash] == ALICE)?;

    narrator.step(
        "Toll fraud is rejected",
        "The settings do not allow this country: owners of such numbers may be paid for each SMS.",
    );
    let body = json!({ "client_secret": "s", "phone_number": "+33 6 12 34 56 78", "country": "FR", "send_attempt": 1 });
    let call = stage.api.post(&v2("/validate/msisdn/requestToken"), body).bearer(&dave);
    narrator.refused(call, 400, "M_DESTINATION_REJECTED").await?;
    narrator.check("the provider received no request", stage.sms.requests() == 1)
}

async fn ask_for_code(stage: &Stage, narrator: &mut Narrator, alice: &str) -> Result<(String, String), Failure> {
    narrator.step("Alice requests a code for a number", "As she dials it in Great Britain.");
    let client_secret = Random.base62(16);
    let body = json!({ "client_secret": client_secret, "phone_number": DIALLED, "country": "GB", "send_attempt": 1 });
    let answer = narrator.ask(stage.api.post(&v2("/validate/msisdn/requestToken"), body).bearer(alice), 200).await?;
    narrator.check("the response has the international form", answer["intl_fmt"] == "+44 7700 900001")?;

    narrator.step(
        "The SMS provider receives the message",
        "The fake checks what Twilio checks: login, number, sender, text.",
    );
    let sms = stage.sms.wait_for(NUMBER, 1, Duration::from_secs(10)).await;
    narrator.show(&format!("to +{} from {}: {}", sms.to, sms.from, sms.text));
    narrator.check("the request follows Twilio's documentation", stage.sms.complaints().is_empty())?;
    Ok((text(&answer, "sid")?, client_secret))
}

async fn submit_code(
    stage: &Stage,
    narrator: &mut Narrator,
    alice: &str,
    sid: &str,
    client_secret: &str,
) -> Result<(), Failure> {
    let code = stage.sms.wait_for(NUMBER, 1, Duration::from_secs(10)).await.code();
    let submission = |token: &str| {
        let body = json!({ "sid": sid, "client_secret": client_secret, "token": token });
        stage.api.post(&v2("/validate/msisdn/submitToken"), body).bearer(alice)
    };
    narrator.step("She mistypes the code", "After five wrong codes the server would invalidate it.");
    let mistyped: String = code.chars().rev().chain(['0']).collect();
    narrator.refused(submission(&mistyped), 400, "M_TOKEN_INCORRECT").await?;

    narrator.step("She types the code", "With a blank in the middle, for legibility.");
    let (first, second) = code.split_at(3);
    let answer = narrator.ask(submission(&format!("{first} {second}")), 200).await?;
    narrator.check("the number is validated", answer["success"] == true)
}
