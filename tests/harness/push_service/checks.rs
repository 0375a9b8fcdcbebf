//! What the push services ask of a request, and their answers.
//!
//! Invariant: statuses and error numbers are those of autopush; ntfy answers 200, and cuts a long body.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::clock::Clock;

use super::{Reply, Request, World};

/// The longest body.
const MAX_BODY: usize = 4096;
/// The longest life of a token in seconds.
const MAX_LIFE: i64 = 24 * 60 * 60;

impl World {
    /// The message that is taken, and the answer.
    pub(super) fn check(&self, request: &Request) -> Result<(Vec<u8>, Reply), Reply> {
        if request.method != "POST" {
            return Err(refusal(405, 0, "method"));
        }
        for draft in ["encryption", "crypto-key"] {
            if request.header(draft).is_some() {
                return Err(refusal(400, 110, "a header of an older draft"));
            }
        }
        let ttl = request.header("ttl").and_then(|ttl| ttl.parse::<u32>().ok()).filter(|ttl| *ttl > 0);
        let Some(ttl) = ttl else { return Err(refusal(400, 112, "TTL")) };
        if !matches!(request.header("urgency"), Some("very-low" | "low" | "normal" | "high")) {
            return Err(refusal(400, 111, "Urgency"));
        }
        let is_topic = |topic: &str| topic.len() == 32 && URL_SAFE_NO_PAD.decode(topic).is_ok();
        if !request.header("topic").is_none_or(is_topic) {
            return Err(refusal(400, 113, "Topic"));
        }
        match request.header("authorization") {
            Some(value) => check_vapid(value, &self.origin).map_err(|what| refusal(401, 109, what))?,
            None if request.path().starts_with("/push/") => return Err(refusal(401, 109, "VAPID is missing")),
            None => {}
        }
        if request.path().starts_with("/push/") { self.autopush(request, ttl) } else { self.ntfy(request) }
    }

    fn autopush(&self, request: &Request, ttl: u32) -> Result<(Vec<u8>, Reply), Reply> {
        if request.header("content-encoding") != Some("aes128gcm") {
            return Err(refusal(400, 110, "Content-Encoding"));
        }
        if request.body.len() > MAX_BODY {
            return Err(refusal(413, 104, "too long"));
        }
        let state = self.state();
        let Some(receiver) = state.receivers.get(request.path()) else { return Err(refusal(404, 102, "no endpoint")) };
        let message = receiver.decrypt(&request.body).map_err(|what| refusal(400, 110, what))?;
        let reply = Reply::new(201, "").with_header("ttl", ttl.to_string());
        Ok((message, reply.with_header("location", format!("{}/m/1", self.origin))))
    }

    fn ntfy(&self, request: &Request) -> Result<(Vec<u8>, Reply), Reply> {
        let state = self.state();
        if !state.topics.iter().any(|topic| topic == request.path()) {
            return Err(refusal(404, 40401, "page not found"));
        }
        let body = &request.body[..request.body.len().min(MAX_BODY)];
        let message = match state.receivers.get(request.path()) {
            Some(receiver) => receiver.decrypt(body).map_err(|what| refusal(400, 0, what))?,
            None => body.to_vec(),
        };
        Ok((message, Reply::json(200, json!({ "id": "hwQ2YpKdmg", "event": "message", "topic": "up" }))))
    }
}

fn refusal(status: u16, errno: u32, what: &str) -> Reply {
    Reply::json(status, json!({ "code": status, "errno": errno, "error": what, "message": what }))
}

/// What is wrong with the value of `Authorization` (RFC 8292 §3).
fn check_vapid(value: &str, origin: &str) -> Result<(), &'static str> {
    let rest = value.strip_prefix("vapid t=").ok_or("not vapid")?;
    let (token, key) = rest.split_once(", k=").ok_or("no key")?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "not base64url");
    let key = decode(key)?;
    if key.len() != 65 || key[0] != 4 {
        return Err("the key is not an uncompressed point");
    }
    let (signed, signature) = token.rsplit_once('.').ok_or("not a token")?;
    let (header, claims) = signed.split_once('.').ok_or("not a token")?;
    let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key);
    verifier.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| "the signature is wrong")?;
    let json = |text: &str| serde_json::from_slice::<Value>(&decode(text)?).map_err(|_| "not JSON");
    let (header, claims) = (json(header)?, json(claims)?);
    if header["alg"] != "ES256" || header["typ"] != "JWT" {
        return Err("alg");
    }
    if claims["aud"] != origin {
        return Err("aud");
    }
    let now = Clock::system().now().as_millis() / 1000;
    if !claims["exp"].as_i64().is_some_and(|exp| exp > now && exp <= now + MAX_LIFE) {
        return Err("exp");
    }
    let is_contact = |sub: &str| sub.starts_with("mailto:") && sub.contains('@') || sub.starts_with("https://");
    if !claims["sub"].as_str().is_some_and(is_contact) {
        return Err("sub");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_vapid;

    #[test]
    fn a_token_must_be_signed_current_and_for_this_origin() {
        // RFC 8292 §2.4, which ended in 2016.
        let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3\
                     NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwD\
                     Xb1JrErtmysazNjjvW2L9OkSSHzvoD1oA";
        let key = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";
        let other = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
        for (value, origin, expected) in [
            (format!("vapid t={token}, k={key}"), "https://push.example.net", "exp"),
            (format!("vapid t={token}, k={key}"), "https://other.example.net", "aud"),
            (format!("vapid t={token}, k={other}"), "https://push.example.net", "the signature is wrong"),
            (format!("WebPush {token}"), "https://push.example.net", "not vapid"),
        ] {
            assert_eq!(check_vapid(&value, origin), Err(expected));
        }
    }
}
