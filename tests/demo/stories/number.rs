//! Alice proves that a telephone number is hers, by the code of an SMS, and publishes it; Dave finds her by it.
//!
//! Invariant: the code comes out of what the provider got, and nowhere else.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::random::Random;

use super::account::{accept_terms, register, text, v2};
use super::email::Left;
use crate::narrator::{Failure, Narrator};
use crate::stage::Stage;

const ALICE: &str = "@alice:hs.example";
const DAVE: &str = "@dave:hs.example";
/// A number that nobody has: Ofcom keeps it for stories.
const DIALLED: &str = "07700 900001";
const NUMBER: &str = "447700900001";

/// Tells it.
///
/// # Errors
/// [`Failure`] for the first answer that is not as it should be.
pub(crate) async fn tell(stage: &Stage, left: &Left, narrator: &mut Narrator) -> Result<(), Failure> {
    let alice = &left.access_token;
    let (sid, client_secret) = ask_for_code(stage, narrator, alice).await?;
    submit_code(stage, narrator, alice, &sid, &client_secret).await?;

    narrator.step("Alice publishes the number", "As she would an e-mail address.");
    let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": ALICE });
    let association = narrator.ask(stage.api.post(&v2("/3pid/bind"), body).bearer(alice), 200).await?;
    let named = association["mxid"] == ALICE && association["address"] == NUMBER;
    narrator.check(&format!("the association says that {NUMBER} is {ALICE}"), named)?;

    narrator.step("Dave has Alice's number in his address book", "He takes an account, and his client sends a hash.");
    let dave = register(stage, narrator, DAVE).await?;
    accept_terms(stage, narrator, DAVE, &dave, &left.terms).await?;
    let details = narrator.ask(stage.api.get(&v2("/hash_details")).bearer(&dave), 200).await?;
    let pepper = text(&details, "lookup_pepper")?;
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{NUMBER} msisdn {pepper}")));
    let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
    let answer = narrator.ask(stage.api.post(&v2("/lookup"), body).bearer(&dave), 200).await?;
    narrator.check(&format!("he finds {ALICE}"), answer["mappings"][&hash] == ALICE)?;

    narrator.step(
        "Somebody wants to earn by it",
        "A number of a country that the settings do not allow: whoever owns such numbers may be paid for each SMS.",
    );
    let body = json!({ "client_secret": "s", "phone_number": "+33 6 12 34 56 78", "country": "FR", "send_attempt": 1 });
    let call = stage.api.post(&v2("/validate/msisdn/requestToken"), body).bearer(&dave);
    narrator.refused(call, 400, "M_DESTINATION_REJECTED").await?;
    narrator.check("the provider was asked for nothing", stage.sms.requests() == 1)
}

async fn ask_for_code(stage: &Stage, narrator: &mut Narrator, alice: &str) -> Result<(String, String), Failure> {
    narrator.step("Alice says that a number is hers", "As she dials it at home, in Great Britain.");
    let client_secret = Random.base62(16);
    let body = json!({ "client_secret": client_secret, "phone_number": DIALLED, "country": "GB", "send_attempt": 1 });
    let answer = narrator.ask(stage.api.post(&v2("/validate/msisdn/requestToken"), body).bearer(alice), 200).await?;
    narrator.check("it is told as people write it abroad", answer["intl_fmt"] == "+44 7700 900001")?;

    narrator.step("The SMS provider gets it", "It checks what Twilio checks: login, number, sender, text.");
    let sms = stage.sms.wait_for(NUMBER, 1, Duration::from_secs(10)).await;
    narrator.show(&format!("to +{} from {}: {}", sms.to, sms.from, sms.text));
    narrator.check("it has nothing to complain of", stage.sms.complaints().is_empty())?;
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
    narrator.step("She mistypes the code", "Five times, and it would be worth nothing.");
    let mistyped: String = code.chars().rev().chain(['0']).collect();
    narrator.refused(submission(&mistyped), 400, "M_TOKEN_INCORRECT").await?;

    narrator.step("She types it as it is", "With a blank in the middle, as it is easier to read.");
    let (first, second) = code.split_at(3);
    let answer = narrator.ask(submission(&format!("{first} {second}")), 200).await?;
    narrator.check("the number is hers", answer["success"] == true)
}
