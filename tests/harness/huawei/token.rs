//! The credentials of the tests, and what Huawei asks of tokens and of requests for them.
//!
//! Invariant: a signed token counts only if the account's key signed it by RSASSA-PSS, for a day at most.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use shared::clock::Clock;

use super::{APP, Request, SECRET};

/// `key_id`
pub(super) const KEY_ID: &str = "1b3d4f0a9c7e4bb0a1d2c3e4f5061728";
/// `sub_account`
pub(super) const SUB_ACCOUNT: &str = "100155843";

const AUDIENCE: &str = "https://oauth-login.cloud.huawei.com/oauth2/v3/token";

/// By how much clocks may differ, in seconds.
const LEEWAY: i64 = 60;

const DAY: i64 = 24 * 60 * 60;

/// Why a token is not accepted: the code of Push Kit.
pub(super) type Code = &'static str;

/// Made once in a process: large keys take their time.
fn key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).expect("the system has randomness"))
}

/// The account's private key, PKCS#8 in PEM.
pub(super) fn private_key_pem() -> String {
    let der = key().as_der().expect("a key that was made here");
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// Checks a signed token of version 3.
pub(super) fn check_signed(clock: &Clock, token: &str) -> Result<(), Code> {
    const WRONG: Code = "80200001";
    let (signed, signature) = token.rsplit_once('.').ok_or(WRONG)?;
    let (header, claims) = signed.split_once('.').ok_or(WRONG)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| WRONG);
    let verifier = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key().public_key().as_ref());
    verifier.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| WRONG)?;
    let json = |text: &str| serde_json::from_slice::<Value>(&decode(text)?).map_err(|_| WRONG);
    let (header, claims) = (json(header)?, json(claims)?);
    if header["alg"] != "PS256" || header["typ"] != "JWT" || header["kid"] != KEY_ID {
        return Err(WRONG);
    }
    if claims["iss"] != SUB_ACCOUNT || claims["aud"] != AUDIENCE {
        return Err(WRONG);
    }
    let number = |name: &str| claims[name].as_i64().ok_or(WRONG);
    let (iat, exp, now) = (number("iat")?, number("exp")?, clock.now().as_millis() / 1000);
    if exp - iat > DAY || exp <= iat || iat > now + LEEWAY {
        return Err("80300036");
    }
    if exp <= now { Err("80200005") } else { Ok(()) }
}

/// What is wrong with a request for a token of version 1: Huawei's number of the error, and its description.
pub(super) fn check_request(request: &Request) -> Result<(), (u32, &'static str)> {
    if request.header("content-type") != Some("application/x-www-form-urlencoded") {
        return Err((1101, "invalid request"));
    }
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match (field("grant_type"), field("client_id"), field("client_secret")) {
        (Some("client_credentials"), Some(APP), Some(SECRET)) => Ok(()),
        (Some("client_credentials"), Some(APP), _) => Err((1101, "invalid client_secret")),
        (Some("client_credentials"), _, _) => Err((1101, "invalid client")),
        _ => Err((1102, "not support grant_type")),
    }
}
