//! What the fake Apple thinks of provider tokens.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{BODY, NOW, apple, connect, device, good_token, jwt, request, send};

#[tokio::test]
async fn a_provider_token_is_judged_by_its_bytes() {
    let (apple, _) = apple().await;
    apple.allow_token_updates();
    let sender = connect(&apple).await;
    let (header, claims) =
        (json!({"alg": "ES256", "kid": apple.key_id()}), json!({"iss": apple.team_id(), "iat": NOW}));
    let good = jwt(&apple, &header, &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut changed = bytes.clone();
    changed[5] ^= 1;
    let at = |iat: i64| jwt(&apple, &header, &json!({"iss": apple.team_id(), "iat": iat}));
    for (token, expected) in [
        (good.clone(), (200, Value::Null)),
        (at(NOW - 3600), (200, Value::Null)),
        (at(NOW - 3601), (403, json!("ExpiredProviderToken"))),
        (at(NOW + 61), (403, json!("InvalidProviderToken"))),
        (format!("{signed}.{}", URL_SAFE.encode(&bytes)), (403, json!("InvalidProviderToken"))),
        (format!("{signed}.{}", URL_SAFE_NO_PAD.encode(changed)), (403, json!("InvalidProviderToken"))),
        (format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes[..63])), (403, json!("InvalidProviderToken"))),
        (jwt(&apple, &json!({"alg": "none", "kid": apple.key_id()}), &claims), (403, json!("InvalidProviderToken"))),
        (jwt(&apple, &json!({"alg": "ES256", "kid": "OTHER"}), &claims), (403, json!("InvalidProviderToken"))),
        (jwt(&apple, &header, &json!({"iss": "OTHER", "iat": NOW})), (403, json!("InvalidProviderToken"))),
        (jwt(&apple, &header, &json!({"iss": apple.team_id()})), (403, json!("InvalidProviderToken"))),
        (String::from("x"), (403, json!("InvalidProviderToken"))),
    ] {
        let value = format!("bearer {token}");
        let answer = send(&sender, request(&apple, &device(), &[("authorization", &value)]), BODY).await.unwrap();
        assert_eq!(answer, expected, "{token}");
    }
    let without = request(&apple, &device(), &[("authorization", "")]);
    assert_eq!(send(&sender, without, BODY).await.unwrap(), (403, json!("MissingProviderToken")));
}

#[tokio::test]
async fn tokens_that_change_too_often_are_refused() {
    let (apple, clock) = apple().await;
    let sender = connect(&apple).await;
    let first = format!("bearer {}", good_token(&apple));
    let with = |value: &str| request(&apple, &device(), &[("authorization", value)]);
    assert_eq!(send(&sender, with(&first), BODY).await.unwrap().0, 200);
    clock.advance(Duration::from_secs(20 * 60 - 1));
    let second = format!("bearer {}", good_token(&apple));
    let refused = send(&sender, with(&second), BODY).await.unwrap();
    assert_eq!(refused, (429, json!("TooManyProviderTokenUpdates")));
    assert_eq!(send(&sender, with(&first), BODY).await.unwrap().0, 200);
    clock.advance(Duration::from_secs(1));
    assert_eq!(send(&sender, with(&second), BODY).await.unwrap().0, 200);
    assert_eq!(apple.provider_tokens(), 2);
}
