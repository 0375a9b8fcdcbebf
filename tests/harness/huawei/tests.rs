//! The fake refuses what the real one refuses.

use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use shared::clock::Clock;

use super::{APP, Huawei, PROJECT, SECRET, token};
use crate::certificates::Authority;

fn signed(header: &Value, claims: &Value) -> String {
    let now = Clock::system().now().as_millis() / 1000;
    let mut all = json!({ "iss": token::SUB_ACCOUNT, "aud": "https://oauth-login.cloud.huawei.com/oauth2/v3/token",
        "iat": now, "exp": now + 3600 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let algorithm =
        if header["alg"] == "RS256" { jsonwebtoken::Algorithm::RS256 } else { jsonwebtoken::Algorithm::PS256 };
    let mut head = jsonwebtoken::Header::new(algorithm);
    head.kid = Some(header["kid"].as_str().unwrap_or(token::KEY_ID).to_owned());
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(token::private_key_pem().as_bytes()).unwrap();
    jsonwebtoken::encode(&head, &all, &key).unwrap()
}

fn v3() -> Value {
    json!({
        "payload": { "notification": { "category": "IM", "title": "t", "body": "b",
            "clickAction": { "actionType": 0, "data": {} }, "badge": { "setNum": 3 } } },
        "target": { "token": ["tok"] }, "pushOptions": { "ttl": 86_400, "collapseKey": -1 },
    })
}

fn v1() -> Value {
    let android = json!({ "urgency": "HIGH", "ttl": "86400s", "collapse_key": -1 });
    json!({ "validate_only": false, "message": { "data": "{}", "android": android, "token": ["tok"] } })
}

fn changed(mut value: Value, pointer: &str, to: Value) -> Value {
    *value.pointer_mut(pointer).unwrap() = to;
    value
}

#[tokio::test]
async fn messages_and_tokens_are_checked_as_documented() {
    let authority = Authority::new("an authority");
    let huawei = Huawei::start(&authority).await;
    let root = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([root]).build().unwrap();
    let send = async |version: u8, token: &str, push_type: &str, body: Value| {
        let id = if version == 3 { PROJECT } else { APP };
        let url = format!("{}/v{version}/{id}/messages:send", huawei.base_url());
        let content_type = if version == 3 { "application/json" } else { "application/json; charset=UTF-8" };
        let request = client.post(url).bearer_auth(token).header("content-type", content_type).body(body.to_string());
        let request = if push_type.is_empty() { request } else { request.header("push-type", push_type) };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    let none = json!({});
    let good = signed(&none, &none);
    assert_eq!(send(3, &good, "0", v3()).await, (200, "80000000".to_owned()));
    let now = Clock::system().now().as_millis() / 1000;
    for (token, code) in [
        (signed(&json!({ "alg": "RS256" }), &none), "80200001"),
        (signed(&json!({ "kid": "other" }), &none), "80200001"),
        (signed(&none, &json!({ "iss": "other" })), "80200001"),
        (signed(&none, &json!({ "aud": "other" })), "80200001"),
        (signed(&none, &json!({ "exp": now + 90_000 })), "80300036"),
        (signed(&none, &json!({ "iat": now - 200, "exp": now - 100 })), "80200005"),
        ("x".to_owned(), "80200001"),
    ] {
        assert_eq!(send(3, &token, "0", v3()).await, (401, code.to_owned()), "{token}");
    }
    let badge = json!({ "payload": { "notification": { "badge": { "setNum": 0 } } }, "target": { "token": ["tok"] } });
    assert_eq!(send(3, &good, "0", badge).await.1, "80000000");
    for (push_type, body, code) in [
        ("", v3(), "80100003"),
        ("6", v3(), "80100003"),
        ("0", changed(v3(), "/target/token", json!(["a", "b"])), "80300010"),
        ("0", changed(v3(), "/payload/notification/title", json!("x".repeat(4096))), "80300008"),
        ("0", changed(v3(), "/payload/notification/title", json!("")), "80100003"),
        ("0", changed(v3(), "/pushOptions/ttl", json!(1_296_001)), "80100003"),
        ("0", changed(v3(), "/pushOptions/ttl", json!("86400")), "80100003"),
        ("0", changed(v3(), "/pushOptions/collapseKey", json!(101)), "80100003"),
        ("0", changed(v3(), "/payload/notification/clickAction/actionType", json!(1)), "80100003"),
        ("0", changed(v3(), "/payload/notification/clickAction/data", json!("{}")), "80100003"),
        (
            "10",
            json!({ "payload": { "extraData": "{}" }, "target": { "token": ["t"] }, "pushOptions": { "ttl": 61 } }),
            "80100003",
        ),
    ] {
        assert_eq!(send(3, &good, push_type, body.clone()).await, (400, code.to_owned()), "{push_type} {body}");
    }

    let form = [("grant_type", "client_credentials"), ("client_id", APP), ("client_secret", SECRET)];
    let answer = client.post(huawei.token_url()).form(&form).send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("\\/"), "{answer}");
    let grant: Value = serde_json::from_str(&answer).unwrap();
    let token = grant["access_token"].as_str().unwrap();
    let wrong = [form[0], form[1], ("client_secret", "other")];
    assert_eq!(client.post(huawei.token_url()).form(&wrong).send().await.unwrap().status(), 400);
    assert_eq!(send(1, token, "", v1()).await, (200, "80000000".to_owned()));
    assert_eq!(send(1, &good, "", v1()).await, (401, "80200003".to_owned()));
    for (pointer, value, code) in [
        ("/message/data", json!({}), "80100003"),
        ("/message/data", json!("x"), "80100003"),
        ("/message/token", json!("tok"), "80100003"),
        ("/message/android/ttl", json!(86_400), "80100003"),
        ("/message/android/ttl", json!("1296001s"), "80100003"),
        ("/message/android/urgency", json!("high"), "80100003"),
        ("/message/android/collapse_key", json!(-2), "80100003"),
    ] {
        assert_eq!(send(1, token, "", changed(v1(), pointer, value)).await, (400, code.to_owned()), "{pointer}");
    }
    huawei.expire_tokens();
    assert_eq!(send(1, token, "", v1()).await.1, "80200003");
    assert_eq!(send(3, &good, "0", v3()).await.1, "80200005");
}
