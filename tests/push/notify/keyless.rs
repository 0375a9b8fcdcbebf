//! FCM without a key file: identities outside Google, and application default credentials.

use harness::api::Api;
use harness::binary;
use harness::fcm::{Fault, Google, Step};
use harness::process::{NotStarted, Server, new_folder};
use harness::world::push::{ANDROID, DEADLINE, NOTIFY, android_device, message_body};
use serde_json::{Value, json};

/// A gateway with one app, whose credential file is in its folder.
struct Gateway {
    google: Google,
    server: Server,
    api: Api,
}

const TOKEN_FILE: &str = "issuer-token";
const CREDENTIALS: &str = "credentials.json";

/// The keys of an app with a credential file.
const BY_FILE: &str = "credentials_file = \"credentials.json\"\nproject_id = \"demo-project\"\n";

impl Gateway {
    /// Starts a gateway with these keys of the app, and the file of an external account changed by `change`.
    async fn start(
        keys: &str,
        environment: &[(&str, &str)],
        change: impl FnOnce(&Google, &mut Value),
    ) -> Result<Self, NotStarted> {
        let google = Google::start().await;
        let folder = new_folder();
        let mut file = google.external_account(TOKEN_FILE.as_ref());
        change(&google, &mut file);
        std::fs::write(folder.path().join(CREDENTIALS), file.to_string()).expect("an empty folder");
        std::fs::write(folder.path().join(TOKEN_FILE), format!("\n{}\n", google.subject_token())).expect("the same");
        let (ca, base_url) = (google.authority().write_pem(folder.path()), google.base_url());
        let config = format!(
            "[http]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[outbound]\nextra_ca_file = {ca:?}\n\
             [apps.{ANDROID:?}]\ntype = \"fcm\"\nbase_url = {base_url:?}\nretry_waits = []\n{keys}"
        );
        let path = folder.path().join(CREDENTIALS).display().to_string();
        let host = google.metadata_host();
        let place = |value: &str| value.replace("{file}", &path).replace("{host}", &host);
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, place(value))).collect();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Server::try_start_in(folder, binary::push_gateway(), &config, &environment).await?;
        let api = Api::new(&server.url());
        Ok(Self { google, server, api })
    }

    async fn with_file(change: impl FnOnce(&Google, &mut Value)) -> Self {
        Self::start(BY_FILE, &[], change).await.unwrap_or_else(|failure| panic!("{}", failure.output))
    }

    async fn notify(&self, event_id: &str) -> harness::api::Answer {
        self.api.post(NOTIFY, message_body(event_id, json!([android_device("phone")]))).send().await
    }

    async fn deliver(&self, event_id: &str) {
        let answer = self.notify(event_id).await;
        assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{}", self.server.logs());
    }

    fn steps(&self) -> Vec<String> {
        let last = |path: &str| path.rsplit(['/', ':']).next().unwrap_or_default().to_owned();
        self.google.steps().iter().map(|request| last(request.path())).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_issuer_becomes_one_of_the_service_account() {
    let gateway = Gateway::with_file(|_, _| {}).await;
    gateway.deliver("$1").await;
    gateway.deliver("$2").await;
    assert_eq!(gateway.steps(), ["token", "generateAccessToken"]);
    let exchange = &gateway.google.steps()[0];
    assert_eq!(exchange.header("content-type"), Some("application/x-www-form-urlencoded"));

    // The issuer replaces its token, and Google forgets the access tokens: the whole chain runs once more.
    std::fs::write(gateway.server.folder().join(TOKEN_FILE), gateway.google.renew_subject_token()).expect("the file");
    gateway.google.expire_tokens();
    gateway.deliver("$3").await;
    assert_eq!(gateway.steps(), ["token", "generateAccessToken", "token", "generateAccessToken"]);
    let message = gateway.google.messages().pop().expect("a message");
    assert!(message.header("x-goog-user-project").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_hand_out_the_token_and_the_pool_may_send_messages_itself() {
    let gateway = Gateway::with_file(|google, file| {
        let (id, secret) = google.ask_for_client();
        let members = file.as_object_mut().expect("an object");
        members.remove("service_account_impersonation_url");
        members.insert("credential_source".to_owned(), google.subject_server());
        members.extend([
            ("client_id".to_owned(), json!(id)),
            ("client_secret".to_owned(), json!(secret)),
            ("quota_project_id".to_owned(), json!("billing-project")),
        ]);
    })
    .await;
    gateway.deliver("$1").await;
    let steps = gateway.google.steps();
    let paths: Vec<&str> = steps.iter().map(|request| request.path()).collect();
    assert_eq!(paths, ["/issuer/token", "/v1/token"]);
    let message = gateway.google.messages().pop().expect("a message");
    assert_eq!(message.header("x-goog-user-project"), Some("billing-project"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_that_fails_is_named_and_no_token_is_shown() {
    let denied = json!({ "error": {
        "code": 403, "status": "PERMISSION_DENIED",
        "message": "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
    }});
    for (content, fault, signs) in [
        (Some(" \n"), None, &["subject token: ", "issuer-token is empty"][..]),
        (None, None, &["subject token: cannot read ", "issuer-token"]),
        (Some("eyJhbGciOiJSUzI1NiJ9.of.an_older_key"), None, &["token exchange at 127.0.0.1: ", "invalid_grant"]),
        (Some("{valid}"), Some((Step::Exchange, Fault::html(503))), &["token exchange at 127.0.0.1: status 503"]),
        (
            Some("{valid}"),
            Some((Step::Impersonation, Fault::json(403, denied))),
            &["impersonation at 127.0.0.1: status 403 PERMISSION_DENIED ", "Service Account Token Creator"],
        ),
    ] {
        let issuer = new_folder();
        let token_file = issuer.path().join(TOKEN_FILE);
        let gateway = Gateway::with_file(|google, file| {
            if let Some(content) = content {
                let content = content.replace("{valid}", &google.subject_token());
                std::fs::write(&token_file, content).expect("an empty folder");
            }
            if let Some((step, fault)) = fault {
                google.step_fault(step, fault);
            }
            file["credential_source"]["file"] = json!(token_file);
        })
        .await;
        let valid = gateway.google.subject_token();
        gateway.notify("$1").await.refused(502, "M_UNKNOWN");
        gateway.notify("$2").await.refused(502, "M_UNKNOWN");
        gateway.server.wait_for_log("no access token for Google", DEADLINE).await;
        let logs = gateway.server.logs();
        let lines: Vec<&str> = logs.lines().filter(|line| line.contains("no access token for Google")).collect();
        assert!(lines.len() == 1 && signs.iter().all(|sign| lines[0].contains(sign)), "{signs:?}: {logs}");

        let output = gateway.server.run(&["check-config"]).await;
        assert_eq!(output.status.code(), Some(0), "offline, it reads files and connects to nothing");
        let output = gateway.server.run(&["check-config", "--online"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("FAILED") && signs.iter().all(|sign| text.contains(sign)), "{signs:?}: {text}");
        let secrets = [valid.as_str(), content.unwrap_or_default()];
        for secret in secrets.iter().filter_map(|secret| secret.trim().get(..20)) {
            assert!(!logs.contains(secret) && !text.contains(secret), "{secret} is in\n{logs}\n{text}");
        }
        assert!(!logs.contains("ya29") && !text.contains("ya29"), "{logs}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_a_credential_file_or_leads_to_the_metadata_server() {
    let keys = "credentials = \"adc\"\n";
    let by_file = [("GOOGLE_APPLICATION_CREDENTIALS", "{file}"), ("GOOGLE_CLOUD_PROJECT", "demo-project")];
    let by_file = Gateway::start(keys, &by_file, |_, _| {}).await;
    let by_file = by_file.unwrap_or_else(|failure| panic!("{}", failure.output));
    by_file.deliver("$1").await;
    assert_eq!(by_file.steps(), ["token", "generateAccessToken"]);
    assert!(by_file.server.logs().contains("(from GOOGLE_APPLICATION_CREDENTIALS)"), "{}", by_file.server.logs());

    let key = Gateway::start(keys, &[("GOOGLE_APPLICATION_CREDENTIALS", "{file}")], |google, file| {
        *file = google.service_account();
    });
    let key = key.await.unwrap_or_else(|failure| panic!("{}", failure.output));
    key.deliver("$1").await;

    // The metadata server names the project too.
    let cloud = [("GCE_METADATA_HOST", "{host}"), ("HOME", "/nonexistent")];
    let cloud = Gateway::start(keys, &cloud, |_, _| {}).await.unwrap_or_else(|failure| panic!("{}", failure.output));
    cloud.deliver("$1").await;
    let output = cloud.server.run(&["check-config", "--online"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("of the metadata server 127.0.0.1:"), "{text}");
    assert_eq!(cloud.google.token_requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_work_do_not_start_and_are_named() {
    let (by_file, adc) = (BY_FILE, "credentials = \"adc\"\nproject_id = \"p\"\n");
    for (keys, environment, member, value, signs) in [
        (by_file, vec![], "credential_source", json!({ "executable": {} }), &["credential_source.executable"][..]),
        (by_file, vec![], "credential_source", json!({ "environment_id": "aws1" }), &["environment_id", "AWS"]),
        (by_file, vec![], "type", json!("authorized_user"), &["\"authorized_user\"", "not supported"]),
        ("credentials_file = \"credentials.json\"\n", vec![], "audience", json!("a"), &["project_id: missing"]),
        (
            adc,
            vec![("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/a.json")],
            "audience",
            json!("a"),
            &["credentials: cannot read /nonexistent/a.json", "GOOGLE_APPLICATION_CREDENTIALS"],
        ),
        (
            adc,
            vec![("NO_GCE_CHECK", "true"), ("HOME", "/nonexistent")],
            "audience",
            json!("a"),
            &["credentials: found no application default credentials"],
        ),
        (
            "credentials = \"adc\"\ncredentials_file = \"credentials.json\"\n",
            vec![],
            "audience",
            json!("a"),
            &["service_account_file: has no use with credentials"],
        ),
    ] {
        let started = Gateway::start(keys, &environment, |_, file| file[member] = value).await;
        let Err(NotStarted { status, output }) = started else { panic!("it started with {signs:?}") };
        assert!(status.is_some_and(|status| !status.success()), "{output}");
        assert!(signs.iter().all(|sign| output.contains(sign)) && output.contains(ANDROID), "{signs:?}: {output}");
    }
}
