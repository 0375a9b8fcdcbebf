//! The log and the database contain no usable secret.
//!
//! Invariant: the search is shown to find a known text, so an empty result is meaningful.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use harness::homeserver::Fault;
use harness::mail::{Offer, Script, Stage, Tls};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::identity::legacy_v1::{FULL, form, v1};
use harness::world::identity::{DEADLINE, SQLITE, Session, Settings, World, hash, v2};

const SMTP_PASSWORD: &str = "correct horse battery staple";
const NEXT_LINK: &str = "https://app.example/done?state=STATE-OF-THE-CLIENT";
const EMAIL: &str = r#"
    username = "mailer"
    password = "correct horse battery staple"
    retry_after = "1s"
    timeout = "1s"
"#;

/// The secrets that a run used.
#[derive(Default)]
struct Used {
    /// Each with a name for the message.
    secrets: Vec<(&'static str, String)>,
    /// These may be in the database, but not in the log.
    private: Vec<(&'static str, String)>,
    /// Bytes that may be nowhere.
    octets: Vec<(&'static str, Vec<u8>)>,
}

impl Used {
    fn secret(&mut self, what: &'static str, value: &str) {
        assert!(value.len() >= 6, "{what} is too short to be searched for: {value:?}");
        self.secrets.push((what, value.to_owned()));
    }

    fn private(&mut self, what: &'static str, value: &str) {
        self.private.push((what, value.to_owned()));
    }

    fn session(&mut self, session: &Session) {
        self.secret("a client_secret", &session.client_secret);
        self.secret("a validation token", &session.token);
        self.secret("a link", &session.link());
        self.private("a query", &format!("sid={}", session.sid));
    }
}

/// The encodings in which a text may appear.
fn forms(value: &str) -> Vec<String> {
    let escaped: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let json = json!(value).to_string();
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms: Vec<String> = vec![value.to_owned(), escaped, json.trim_matches('"').to_owned(), hex];
    forms.extend([&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|engine| engine.encode(value)));
    forms
}

fn holds(text: &str, value: &str) -> bool {
    forms(value).iter().any(|form| text.contains(form.as_str()))
}

/// Every request of a client, valid and invalid.
async fn live(world: &World, used: &mut Used) {
    let bob = register(world, used, "@bob:hs.example").await;
    let alice = register(world, used, "@alice:hs.example").await;
    refused_registrations(world, used).await;
    used.private("an address", "bob@private.example");
    used.private("an address as it was typed", "Bob@Private.Example");
    used.private("a next_link", "STATE-OF-THE-CLIENT");
    let session = validate(world, used, &bob).await;
    invitations(world, used, &alice).await;
    by_the_removed_api(world, used).await;
    mail_troubles(world, used, &bob).await;
    // This mail waits in the queue, sealed.
    let waiting = invitation("erin@private.example", "GUEST-TOKEN-IN-THE-QUEUE");
    used.secret("a guest's access token in a mail in the queue", "GUEST-TOKEN-IN-THE-QUEUE");
    world.api.post(&v2("/store-invite"), waiting).bearer(&alice).send().await.expect(200);

    let bind = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": "@bob:hs.example" });
    world.api.post(&v2("/3pid/bind"), bind.clone()).bearer(&alice).send().await.refused(403, "M_UNAUTHORIZED");
    world.api.post(&v2("/3pid/bind"), bind).bearer(&bob).send().await.expect(200);

    // The query token of older clients, and lookups by hash and in clear.
    let details = world.api.get(&v2("/hash_details")).query("access_token", &alice).send().await.expect(200);
    let pepper = details["lookup_pepper"].as_str().expect("a pepper").to_owned();
    used.private("the pepper", &pepper);
    let digest = hash("bob@private.example", "email", &pepper);
    for (algorithm, entry) in [("sha256", digest.as_str()), ("none", "bob@private.example email")] {
        let body = json!({ "addresses": [entry], "algorithm": algorithm, "pepper": pepper });
        let answer = world.api.post(&v2("/lookup"), body).bearer(&alice).send().await.expect(200);
        assert_eq!(answer["mappings"][entry], "@bob:hs.example");
    }
    let body = json!({ "addresses": [digest], "algorithm": "sha256", "pepper": "old" });
    world.api.post(&v2("/lookup"), body).bearer(&alice).send().await.refused(400, "M_INVALID_PEPPER");

    let threepid = json!({ "medium": "email", "address": "Bob@Private.Example" });
    let mut unbind = json!({ "mxid": "@bob:hs.example", "threepid": threepid });
    world.api.post(&v2("/3pid/unbind"), unbind.clone()).bearer(&bob).send().await.refused(403, "M_FORBIDDEN");
    unbind["sid"] = session.sid.clone().into();
    unbind["client_secret"] = session.client_secret.clone().into();
    world.api.post(&v2("/3pid/unbind"), unbind).send().await.expect(200);

    malformed_requests(world, &session, &bob).await;
    world.api.post(&v2("/account/logout"), json!({})).bearer(&alice).send().await.expect(200);
    world.api.post(&v2("/account/logout"), json!({})).bearer(&alice).send().await.refused(401, "M_UNKNOWN_TOKEN");
}

async fn register(world: &World, used: &mut Used, user: &str) -> String {
    let body = world.homeserver.open_id_token(user);
    used.secret("an OpenID token", body["access_token"].as_str().expect("a token"));
    let answer = world.api.post(&v2("/account/register"), body).send().await.expect(200);
    let token = answer["token"].as_str().expect("a token").to_owned();
    used.secret("an access token", &token);
    token
}

async fn refused_registrations(world: &World, used: &mut Used) {
    const USERINFO: &str = "/_matrix/federation/v1/openid/userinfo";
    let unknown = json!({ "access_token": "UNKNOWN-OPEN-ID-TOKEN", "matrix_server_name": "hs.example" });
    used.secret("an OpenID token", "UNKNOWN-OPEN-ID-TOKEN");
    for fault in
        [None, Some(Fault::reply(500, "")), Some(Fault::reply(200, "not JSON")), Some(Fault::redirect("/elsewhere"))]
    {
        if let Some(fault) = fault {
            world.homeserver.fault_times(USERINFO, 1, fault);
        }
        let answer = world.api.post(&v2("/account/register"), unknown.clone()).send().await;
        assert!([401, 502].contains(&answer.code()), "{answer}");
    }
    let elsewhere = json!({ "access_token": "UNKNOWN-OPEN-ID-TOKEN", "matrix_server_name": "10.0.0.1:1" });
    assert_eq!(world.api.post(&v2("/account/register"), elsewhere).send().await.code(), 502);
}

/// A session, with wrong secrets and tokens before the right ones, by the API and by the link.
async fn validate(world: &World, used: &mut Used, access_token: &str) -> Session {
    let client_secret = "CLIENT-SECRET-OF-BOB".to_owned();
    let body = json!({
        "client_secret": client_secret, "email": "Bob@Private.Example", "send_attempt": 1, "next_link": NEXT_LINK,
    });
    let sid = world.ask(access_token, body).await.expect(200)["sid"].as_str().expect("a sid").to_owned();
    let mail = world.mail.wait_for("Bob@Private.Example", 1, DEADLINE).await;
    assert_eq!(mail.user.as_deref(), Some("mailer"), "the password was used");
    let session = Session { sid, client_secret, token: mail.message().validation_parameter("token") };
    used.session(&session);
    for (name, wrong) in
        [("token", "WRONG-TOKEN"), ("client_secret", "WRONG-SECRET"), ("client_secret", "WRONG SECRET")]
    {
        used.secret("what was submitted wrongly", wrong);
        let mut submission = session.submission();
        submission[name] = wrong.into();
        assert_eq!(world.submit(access_token, submission).await.code(), 400);
        let link = session.confirmed_link().replace(&session.token, wrong).replace(' ', "%20");
        assert_eq!(world.api.get(&link).send().await.code(), 400);
    }
    assert_eq!(world.api.get(&session.confirmed_link()).send().await.code(), 200);
    world.submit(access_token, session.submission()).await.expect(200);
    world.validated(access_token, &session).await.expect(200);
    session
}

fn invitation(address: &str, guest_access_token: &str) -> Value {
    json!({
        "medium": "email", "address": address, "room_id": "!room:hs.example", "sender": "@alice:hs.example",
        "room_name": "NAME-OF-A-ROOM", "guest_access_token": guest_access_token,
    })
}

/// An invitation with its mail, followed with valid and invalid keys; only the mail contains the private key.
async fn invitations(world: &World, used: &mut Used, access_token: &str) {
    let body = invitation("dave@private.example", "GUEST-TOKEN-IN-A-MAIL");
    used.secret("a guest's access token", "GUEST-TOKEN-IN-A-MAIL");
    used.secret("a room's name", "NAME-OF-A-ROOM");
    let stored = world.api.post(&v2("/store-invite"), body.clone()).bearer(access_token).send().await.expect(200);
    used.private("an invite's token", stored["token"].as_str().expect("a token"));
    let mail = world.mail.wait_for("dave@private.example", 1, DEADLINE).await.message();
    let link = mail.links().remove(0).fragment().expect("a fragment").to_owned();
    let (_, query) = link.split_once('?').expect("parameters");
    let parameter = |query: &str, name: &str| {
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("no {name} in {query}")).1.into_owned()
    };
    let signurl = parameter(query, "signurl");
    let private_key = parameter(signurl.split_once('?').expect("a query").1, "private_key");
    used.secret("an ephemeral private key", &private_key);
    used.secret("an ephemeral private key", &private_key.replace('-', "+").replace('_', "/"));
    let octets = URL_SAFE_NO_PAD.decode(&private_key).expect("base64");
    used.secret("an ephemeral private key", &octets.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    used.octets.push(("an ephemeral private key", octets));

    let path = signurl.strip_prefix(&world.server.url()).expect("ours");
    let sign = async |path: &str| world.api.post(path, Value::Null).query("mxid", "@dave:hs.example").send().await;
    sign(path).await.expect(200);
    assert_eq!(sign(&path.replace("token=", "token=x")).await.code(), 404);
    assert_eq!(sign(&path.replace("private_key=", "private_key=x")).await.code(), 400);
    assert_eq!(sign(&format!("{path}&private_key={private_key}")).await.code(), 400);
    let wrong = json!({ "mxid": [private_key], "token": { private_key.as_str(): 1 }, "private_key": private_key });
    for path in [v2("/sign-ed25519"), "/_matrix/identity/api/v1/sign-ed25519".to_owned()] {
        let answer = world.api.post(&path, wrong.clone()).bearer(access_token).send().await;
        assert_eq!(answer.code(), 400, "{answer}");
    }
    // The relay rejects it: the invitation is deleted, and its log line contains no secret.
    world.mail.script(Stage::Recipient, [Script::say("550 5.1.1 <dave@private.example>: no such user")]);
    let answer = world.api.post(&v2("/store-invite"), body).bearer(access_token).send().await;
    answer.refused(400, "M_EMAIL_SEND_ERROR");
}

/// The same without an account: forms, and queries that contain every argument.
async fn by_the_removed_api(world: &World, used: &mut Used) {
    let (address, secret) = ("frank@private.example", "CLIENT-SECRET-OF-FRANK");
    let fields = [("client_secret", secret), ("email", address), ("send_attempt", "1"), ("next_link", NEXT_LINK)];
    let asked = form(world, "/validate/email/requestToken", &fields).send().await.expect(200);
    let mail = world.mail.wait_for(address, 1, DEADLINE).await.message();
    let session = Session {
        sid: asked["sid"].as_str().expect("a sid").to_owned(),
        client_secret: secret.to_owned(),
        token: mail.validation_parameter("token"),
    };
    used.session(&session);
    let known = [("sid", session.sid.as_str()), ("client_secret", secret)];
    let in_query = |path: &str, fields: &[(&str, &str)]| {
        let call = world.api.request(hyper::Method::POST, &v1(path));
        fields.iter().fold(call, |call, (name, value)| call.query(name, value))
    };
    used.secret("what was submitted wrongly", "WRONG-TOKEN-BY-V1");
    for token in ["WRONG-TOKEN-BY-V1", &session.token] {
        let submission = [known[0], known[1], ("token", token)];
        // A wrong token is a result in v1, and no error.
        let code = 200;
        assert_eq!(in_query("/validate/email/submitToken", &submission).send().await.code(), code);
        assert_eq!(form(world, "/validate/email/submitToken", &submission).send().await.code(), code);
        assert_eq!(
            world.api.post(&v1("/validate/msisdn/submitToken"), json!({ "token": token })).send().await.code(),
            400
        );
    }
    let call = world.api.get(&v1("/3pid/getValidated3pid")).query("sid", &session.sid);
    call.query("client_secret", secret).send().await.expect(200);
    for mxid in ["frank", "@frank:hs.example"] {
        let code = if mxid == "frank" { 400 } else { 200 };
        assert_eq!(in_query("/3pid/bind", &[known[0], known[1], ("mxid", mxid)]).send().await.code(), code);
    }
    let look_up = world.api.get(&v1("/lookup")).query("medium", "email").query("address", address);
    assert_eq!(look_up.send().await.expect(200)["mxid"], "@frank:hs.example");
    let pairs = json!({ "threepids": [["email", address], ["email", "unbound@private.example"], [address, secret]] });
    world.api.post(&v1("/bulk_lookup"), pairs).send().await.expect(200);
    world.api.post(&v1("/bulk_lookup"), json!({ "threepids": [address] })).send().await.refused(400, "M_INVALID_PARAM");
    used.secret("a guest's access token", "GUEST-TOKEN-BY-V1");
    for invited in [address, "grace@private.example"] {
        let fields = [
            ("medium", "email"),
            ("address", invited),
            ("room_id", "!room:hs.example"),
            ("sender", "@alice:hs.example"),
            ("guest_access_token", "GUEST-TOKEN-BY-V1"),
        ];
        let code = if invited == address { 400 } else { 200 };
        assert_eq!(in_query("/store-invite", &fields).send().await.code(), code);
    }
    let threepid = json!({ "medium": "email", "address": address });
    let body =
        json!({ "mxid": "@frank:hs.example", "threepid": threepid, "sid": session.sid, "client_secret": secret });
    world.api.post(&v1("/3pid/unbind"), body).send().await.expect(200);
}

/// Mails that the relay rejects, cuts off or defers.
async fn mail_troubles(world: &World, used: &mut Used, access_token: &str) {
    // The notices of moved and removed addresses would meet the scripts below.
    let is_sent = || {
        let messages: Vec<_> = world.mail.mails().iter().map(harness::mail::Mail::message).collect();
        messages.iter().any(|message| message.header("subject") == Some("Your email address and Matrix"))
    };
    harness::wait::wait_until("the notice of an unbind", DEADLINE, is_sent).await;
    let ask = async |n: usize, address: &str| {
        let secret = format!("CLIENT-SECRET-{n}");
        let body = json!({ "client_secret": secret, "email": address, "send_attempt": 1 });
        (world.ask(access_token, body).await, secret)
    };
    used.private("an address", "private.example");
    for (n, (stage, script)) in [
        (Stage::Recipient, Script::say("550 5.1.1 <Bob@Private.Example>: no such user")),
        (Stage::EndOfData, Script::say("554 5.7.1 mail to Bob@Private.Example is spam")),
        (Stage::EndOfData, Script::Close),
        (Stage::EndOfData, Script::Silence),
        (Stage::Greeting, Script::say("554 Bob@Private.Example is not welcome")),
        (Stage::Auth, Script::say("535 5.7.8 wrong password correct horse battery staple")),
    ]
    .into_iter()
    .enumerate()
    {
        // A new connection each time, so that each stage is reached.
        world.mail.always(Stage::Mail, Script::Close);
        let (answer, secret) = ask(100 + n, "Bob@Private.Example").await;
        used.secret("a client_secret", &secret);
        answer.refused(400, "M_EMAIL_SEND_ERROR");
        world.mail.mend();
        world.mail.script(stage, [script]);
        let (answer, secret) = ask(n, "Bob@Private.Example").await;
        used.secret("a client_secret", &secret);
        answer.refused(400, "M_EMAIL_SEND_ERROR");
        world.mail.mend();
    }
    // One more stays in the queue: the search has to see its row.
    world.mail.always(Stage::Recipient, Script::say("450 4.2.1 <carol@private.example>: later"));
    let (answer, secret) = ask(1000, "carol@private.example").await;
    used.secret("a client_secret", &secret);
    answer.expect(200);
    for (n, address) in
        ["\"Bob@Private.Example", "bob@private.example\r\nBcc: x@y", "b\u{f6}b@private"].iter().enumerate()
    {
        let (answer, secret) = ask(2000 + n, address).await;
        used.secret("a client_secret", &secret);
        assert!(answer.code() == 400 || n == 2, "{answer}");
    }
}

/// Invalid requests whose content an error might quote.
async fn malformed_requests(world: &World, session: &Session, access_token: &str) {
    let Session { sid, client_secret, token } = session;
    let broken = [
        format!(r#"{{"sid":"{sid}","client_secret":"{client_secret}","token":"{token}""#),
        format!(r#"{{"sid":["{sid}"],"client_secret":"{client_secret}","token":{{"{token}":1}}}}"#),
        format!(r#"{{"{token}":1,"{token}":2,"{client_secret}":"\ud800"}}"#),
        format!(r#""{token}{client_secret}""#),
        format!("sid={sid}&client_secret={client_secret}&token={token}&token={token}"),
    ];
    for body in &broken {
        for path in ["/validate/email/submitToken", "/3pid/bind", "/lookup", "/account/register", "/terms"] {
            let call = world.api.request(hyper::Method::POST, &v2(path)).bearer(access_token).body(body.clone());
            let call = call.header("content-type", "application/json").header("x-request-id", &format!("{token}!"));
            assert!(call.send().await.status.is_client_error(), "{path}: {body}");
        }
    }
    for path in [
        format!("/unknown/{token}?client_secret={client_secret}"),
        format!("{}/{client_secret}", v2("/pubkey")),
        format!("{}?access_token={token}&access_token={access_token}", v2("/account")),
        format!("{}?token={token}&client_secret={client_secret}&sid=%ff", v2("/validate/email/submitToken")),
    ] {
        assert!(world.api.get(&path).send().await.status.is_client_error(), "{path}");
    }
    let referer = format!("{}{}", world.server.url(), session.link());
    world.api.get(&v2("")).header("referer", &referer).header("cookie", access_token).send().await.expect(200);
}

/// All files that a database has written into `folder`.
fn database_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the data folder") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with("identity.db") {
            bytes.extend(std::fs::read(&path).expect("a readable file"));
            files.push(name);
        }
    }
    assert!(files.iter().any(|name| name.ends_with("-wal")) && files.len() >= 2, "{files:?}");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_log_nor_database_holds_anything_that_could_be_used() {
    for format in ["text", "json"] {
        let tables = format!(
            "[log]\nlevel = \"trace\"\nformat = \"{format}\"\n[limits]\nenabled = false\n\
             [lookup]\nalgorithms = [\"sha256\", \"none\"]\n{FULL}\n{SQLITE}"
        );
        let credentials = Some(("mailer".to_owned(), SMTP_PASSWORD.to_owned()));
        let mail = Offer { tls: Tls::StartTls, credentials, ..Offer::default() };
        let mut world = World::with(Settings { email: EMAIL, tables: &tables, mail, ..Settings::default() }).await;
        let mut used = Used::default();
        used.secret("the SMTP password", SMTP_PASSWORD);
        let data = world.server.folder().join("data");
        let key_file = std::fs::read_to_string(data.join("signing.key")).unwrap();
        used.secret("the seed", key_file.split_whitespace().nth(2).expect("ed25519 <id> <seed>"));
        live(&world, &mut used).await;
        used.private("a query string", "access_token=");
        used.private("a query string", "client_secret=");

        let octets = database_bytes(&data);
        let database = String::from_utf8_lossy(&octets).into_owned();
        world.server.kill();
        let logs = world.server.logs();
        assert!(logs.contains("answered") && logs.contains("mail cannot be sent"), "the log was on:\n{logs}");
        assert!(logs.contains("a mail was refused") && logs.contains("login failed"), "failures are logged:\n{logs}");
        if format == "json" {
            let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            assert!(lines.filter(|line| line["message"] == "answered").count() > 50, "JSON lines:\n{logs}");
        }
        assert!(holds(&database, "bob@private.example") && holds(&database, "@bob:hs.example"), "the search finds");
        let has = |value: &[u8]| octets.windows(value.len()).any(|window| window == value);
        assert!(has(b"dave@private.example"), "the search finds octets");
        for (what, value) in &used.octets {
            assert!(!has(value), "{what} is in the database");
        }
        for (what, value) in &used.secrets {
            assert!(!holds(&database, value), "{what} is in the database: {value}");
        }
        for (what, value) in used.secrets.iter().chain(&used.private) {
            let line =
                logs.lines().find(|line| holds(line, value) || holds(&line.to_lowercase(), &value.to_lowercase()));
            assert_eq!(line, None, "{what} is in the {format} log: {value}");
        }
    }
}
