//! The fake refuses what the real one refuses.

use reqwest::{Certificate, Client, Response};
use serde_json::{Value, json};
use shared::clock::Clock;

use super::{Fault, Google, Loss, federation, message, token};

fn client(google: &Google) -> Client {
    let authority = Certificate::from_pem(google.authority().pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([authority]).build().unwrap()
}

/// An assertion with these claims laid over the right ones, signed with the key in `pem`.
fn assertion(google: &Google, claims: &Value, pem: &str) -> String {
    let now = Clock::system().now().as_millis() / 1000;
    let mut all = json!({
        "iss": token::CLIENT_EMAIL, "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": google.service_account()["token_uri"], "iat": now, "exp": now + 3600,
    });
    for (key, value) in claims.as_object().unwrap() {
        all[key] = value.clone();
    }
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    header.kid = Some(token::KEY_ID.to_owned());
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    jsonwebtoken::encode(&header, &all, &key).unwrap()
}

async fn ask(google: &Google, grant: &str, assertion: &str) -> Response {
    let url = google.service_account()["token_uri"].as_str().unwrap().to_owned();
    client(google).post(url).form(&[("grant_type", grant), ("assertion", assertion)]).send().await.unwrap()
}

async fn send(google: &Google, project: &str, token: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}/v1/projects/{project}/messages:send", google.base_url());
    let answer = client(google).post(url).bearer_auth(token).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_token_is_given_for_a_right_assertion_alone() {
    const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let google = Google::start().await;
    let pem = token::private_key_pem();
    let now = Clock::system().now().as_millis() / 1000;
    let good = assertion(&google, &json!({}), &pem);
    let answer: Value = ask(&google, GRANT, &good).await.json().await.unwrap();
    assert_eq!((&answer["expires_in"], &answer["token_type"]), (&json!(3599), &json!("Bearer")));
    let (head, rest) = good.split_at(good.len() - 8);
    let forged = format!("{head}{}", rest.chars().rev().collect::<String>());
    for (claims, error) in [
        (json!({"iss": "other@example.org"}), "invalid_grant"),
        (json!({"aud": "https://oauth2.googleapis.com/token"}), "invalid_grant"),
        (json!({"scope": "https://www.googleapis.com/auth/cloud-platform"}), "invalid_scope"),
        (json!({"iat": now, "exp": now + 3601}), "invalid_grant"),
        (json!({"iat": now - 7200, "exp": now - 3600}), "invalid_grant"),
        (json!({"iat": now + 600, "exp": now + 1200}), "invalid_grant"),
        (json!({"iat": "now"}), "invalid_grant"),
    ] {
        let answer = ask(&google, GRANT, &assertion(&google, &claims, &pem)).await;
        assert_eq!(answer.status(), 400, "{claims}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], error, "{claims}");
    }
    assert_eq!(ask(&google, GRANT, &forged).await.status(), 400);
    assert_eq!(ask(&google, "client_credentials", &good).await.status(), 400);
    assert_eq!(google.token_requests().len(), 10);
}

#[tokio::test]
async fn a_message_needs_a_token_a_project_and_a_device() {
    let google = Google::start().await;
    let pem = token::private_key_pem();
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let answer = ask(&google, grant, &assertion(&google, &json!({}), &pem)).await;
    let token = answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    let body = json!({"message": {"token": "tok", "data": {"a": "b"}}});
    let (status, answer) = send(&google, "demo-project", &token, &body).await;
    assert!(status == 200 && answer["name"].as_str().unwrap().starts_with("projects/demo-project/messages/"));
    assert_eq!(send(&google, "demo-project", "other", &body).await.0, 401);
    assert_eq!(send(&google, "other", &token, &body).await, (404, Value::Null));
    let (status, answer) = send(&google, "demo-project", &token, &json!({"message": {"data": {}}})).await;
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
    google.unregister("tok");
    let (status, answer) = send(&google, "demo-project", &token, &body).await;
    assert_eq!((status, &answer["error"]["details"][0]["errorCode"]), (404, &json!("UNREGISTERED")));
    google.expire_tokens();
    assert_eq!(send(&google, "demo-project", &token, &body).await.0, 401);
    assert_eq!(google.messages_for("tok").len(), 5);
}

#[tokio::test]
async fn it_knows_what_it_accepted_and_which_answers_were_lost() {
    let google = Google::start().await;
    let pem = token::private_key_pem();
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let answer = ask(&google, grant, &assertion(&google, &json!({}), &pem)).await;
    let token = answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    let url = format!("{}/v1/projects/demo-project/messages:send", google.base_url());
    let mut expected = Vec::new();
    for (fault, accepted, answered) in [
        (Fault::html(200), true, true),
        (Fault::html(200).cut_off(), true, true),
        (Fault::unavailable(), false, true),
        (Fault::Reset(2), false, false),
        (Fault::Close, false, false),
        (Fault::Lose(Loss::Reset(2)), true, false),
        (Fault::Lose(Loss::Cut), true, false),
    ] {
        let client = client(&google);
        let body = json!({"message": {"token": "tok"}});
        let send = || client.post(&url).bearer_auth(&token).json(&body).send();
        assert_eq!(send().await.unwrap().status(), 200);
        google.fault_times(1, fault);
        // Whether it is an answer or an error is another test's matter.
        drop(send().await);
        expected.extend([(true, true), (accepted, answered)]);
    }
    google.fault_by(|request| (request.pushkey()? == "tok").then(|| Fault::html(500)));
    assert_eq!(send(&google, "demo-project", &token, &json!({"message": {"token": "tok"}})).await.0, 500);
    expected.push((false, true));
    let found: Vec<_> = google.messages().iter().map(|request| (request.is_accepted, request.was_answered())).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_client_that_does_not_ask_for_http2_in_tls_does_not_get_it() {
    let google = Google::start().await;
    let tls = (*google.authority().client_config()).clone();
    let client = Client::builder().tls_backend_preconfigured(tls);
    let url = format!("{}/v1/projects/demo-project/messages:send", google.base_url());
    assert!(client.http2_prior_knowledge().build().unwrap().post(url).send().await.is_err());
    assert!(google.messages().is_empty());
}

#[test]
fn each_mistake_in_a_message_names_its_field() {
    let ok = |message: Value| message::check(&json!({"message": message}));
    for message in [
        json!({"token": "t"}),
        json!({"fid": "f", "data": {"a": ""}, "android": {"priority": "HIGH", "ttl": "3.5s", "collapse_key": "x"}}),
        json!({"topic": "t", "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {}}}}),
        json!({"token": "t", "data": {"k": "v".repeat(4095)}}),
    ] {
        assert_eq!(ok(message), Ok(()));
    }
    for (message, field) in [
        (json!({}), "message"),
        (json!({"token": "a", "fid": "b"}), "message"),
        (json!({"token": ""}), "message.token"),
        (json!({"fid": 5}), "message.fid"),
        (json!({"token": "t", "datum": {}}), "message"),
        (json!({"token": "t", "data": {"a": "x", "b": 1}}), "message.data[1].value"),
        (json!({"token": "t", "data": []}), "message.data"),
        (json!({"token": "t", "data": {"from": "x"}}), "message.data"),
        (json!({"token": "t", "data": {"google.x": "x"}}), "message.data"),
        (json!({"token": "t", "data": {"gcm.x": "x"}}), "message.data"),
        (json!({"token": "t", "data": {"k": "v".repeat(4096)}}), "message"),
        (json!({"token": "t", "data": {"k": "v".repeat(4085)}, "notification": {"title": "x"}}), "message"),
        (json!({"token": "t", "android": {"priority": "urgent"}}), "message.android.priority"),
        (json!({"token": "t", "android": {"ttl": 30}}), "message.android.ttl"),
        (json!({"token": "t", "android": {"ttl": "30"}}), "message.android.ttl"),
        (json!({"token": "t", "android": {"ttl": "2419201s"}}), "message.android.ttl"),
        (json!({"token": "t", "android": {"collapse_key": 1}}), "message.android.collapse_key"),
        (json!({"token": "t", "android": {"colour": "x"}}), "message.android"),
        (json!({"token": "t", "apns": {"headers": {"apns-priority": 5}}}), "message.apns.headers"),
        (json!({"token": "t", "apns": {"payload": {"aps": "x"}}}), "message.apns.payload.aps"),
    ] {
        assert_eq!(ok(message.clone()).unwrap_err().0, field, "{message}");
    }
    assert!(message::check(&json!({"message": {"token": "t"}, "validateOnly": true})).is_err());
}

#[tokio::test]
async fn a_pool_exchanges_and_impersonates_as_google_does() {
    let google = Google::start().await;
    let account = google.external_account("token".as_ref());
    let url = |key: &str| account[key].as_str().unwrap().to_owned();
    let good = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange".to_owned()),
        ("audience", federation::AUDIENCE.to_owned()),
        ("scope", "https://www.googleapis.com/auth/cloud-platform".to_owned()),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token".to_owned()),
        ("subject_token", google.subject_token()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt".to_owned()),
    ];
    let exchange = async |form: &[(&str, String)]| -> (u16, Value) {
        let answer = client(&google).post(url("token_url")).form(form).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    for (index, error) in [
        (0, "unsupported_grant_type"),
        (1, "invalid_target"),
        (2, "invalid_scope"),
        (3, "invalid_request"),
        (4, "invalid_grant"),
        (5, "invalid_request"),
    ] {
        let mut form = good.clone();
        form[index].1 = "wrong".to_owned();
        let (status, body) = exchange(&form).await;
        assert_eq!((status, &body["error"]), (400, &json!(error)), "{}", good[index].0);
    }
    let (_, body) = exchange(&good).await;
    let federated = body["access_token"].as_str().unwrap().to_owned();
    let message = json!({"message": {"token": "a"}});
    assert_eq!(send(&google, "demo-project", &federated, &message).await.0, 401, "a token for impersonation alone");

    let scope = ["https://www.googleapis.com/auth/firebase.messaging"];
    let impersonate = async |token: &str, body: Value| -> (u16, Value) {
        let request = client(&google).post(url("service_account_impersonation_url")).bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    let right = json!({"scope": scope, "lifetime": "3600s", "delegates": []});
    assert_eq!(impersonate("other", right.clone()).await.0, 401);
    assert_eq!(impersonate(&federated, json!({"scope": scope, "lifetime": "3601s"})).await.0, 400);
    assert_eq!(impersonate(&federated, json!({"lifetime": "60s"})).await.0, 400);
    let (status, body) = impersonate(&federated, right).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(send(&google, "demo-project", body["accessToken"].as_str().unwrap(), &message).await.0, 200);
    google.renew_subject_token();
    assert_eq!(exchange(&good).await.0, 400, "the former token");
}
