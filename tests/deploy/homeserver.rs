//! The page about homeservers, as written, with a real Synapse: bind, look-up and an invitation.

use harness::api::Api;
use harness::binary;
use harness::certificates::Authority;
use harness::homeserver::Homeserver;
use harness::mail::{Offer, Sink, Tls};
use harness::process::{Server, new_folder};
use harness::synapse::{PASSWORD, Synapse, User, free_port};
use harness::wait::wait_for;
use harness::world::identity::{DEADLINE, World, v2};
use serde_json::{Value, json};

use super::read;

/// The homeserver's name in its user IDs.
const NAME: &str = "matrix.example";

/// The blocks of the page that belong into `file`, for this identity server and homeserver.
fn blocks(file: &str, identity: &str, synapse: &str, relay: &str) -> String {
    let page = read("homeserver.md");
    let sections = page.split("```").skip(1).step_by(2);
    let of_file = sections.filter_map(|block| {
        let (info, text) = block.split_once('\n')?;
        info.ends_with(file).then_some(text)
    });
    let text: String = of_file.collect();
    let text = text.replace("https://id.example.org", &format!("https://{identity}"));
    let text = text.replace("10.0.0.5:8448", synapse).replace("\"example.org\"", &format!("{NAME:?}"));
    text.replace("mail.example.org", "localhost").replace("587", relay)
}

/// An account at the identity server, by an OpenID token of the homeserver.
async fn account(world: &World, synapse: &Synapse, user: &User) -> String {
    let path = format!("/_matrix/client/v3/user/{}/openid/request_token", user.id);
    let token = synapse.api.post(&path, json!({})).bearer(&user.token).send().await.expect(200);
    let answer = world.api.post(&v2("/account/register"), token).send().await;
    answer.expect(200)["token"].as_str().expect("a token").to_owned()
}

/// Adds `email` to the account, by the link in the homeserver's own mail.
async fn add(synapse: &Synapse, relay: &Sink, user: &User, email: &str) {
    let post = |path: &str, body: Value| synapse.api.post(path, body).bearer(&user.token);
    let body = json!({ "client_secret": "s", "email": email, "send_attempt": 1 });
    let answer = post("/_matrix/client/v3/account/3pid/email/requestToken", body).send().await.expect(200);
    let mail = relay.wait_for(email, 1, DEADLINE).await;
    let message = mail.message();
    let text = message.text();
    let link = text.split_once(&format!("https://{NAME}/")).map(|(_, rest)| rest.split_whitespace().next());
    let path = format!("/{}", link.flatten().expect("a link"));
    assert_eq!(synapse.api.get(&path).send().await.code(), 200);
    let mut body = json!({ "client_secret": "s", "sid": answer["sid"] });
    let asked = post("/_matrix/client/v3/account/3pid/add", body.clone()).send().await;
    let session: Value = serde_json::from_str(&asked.text()).expect("JSON");
    body["auth"] = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": user.id }, "password": PASSWORD,
        "session": session["session"],
    });
    post("/_matrix/client/v3/account/3pid/add", body).send().await.expect(200);
    let known = synapse.api.get("/_matrix/client/v3/account/3pid").bearer(&user.token).send().await.expect(200);
    assert_eq!(known["threepids"][0]["address"], email);
}

/// Proves `email` and shares it, through the homeserver.
async fn bind(world: &World, synapse: &Synapse, user: &User, account: &str, email: &str) -> Value {
    let session = world.validate(account, email).await;
    let body = json!({
        "client_secret": session.client_secret, "sid": session.sid, "id_server": world.server.address().to_string(),
        "id_access_token": account,
    });
    synapse.api.post("/_matrix/client/v3/account/3pid/bind", body).bearer(&user.token).send().await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn synapse_binds_looks_up_and_invites_as_the_page_says() {
    let authority = Authority::new("the authority of both");
    let address = format!("127.0.0.1:{}", free_port());
    let credentials = Some(("synapse".to_owned(), "password".to_owned()));
    let offer = Offer { tls: Tls::StartTls, credentials, ..Offer::default() };
    let of_synapse = Sink::start_with(offer, &authority).await;
    let relay = of_synapse.address().port().to_string();
    let settings = blocks("homeserver.yaml", &address, "", &relay);
    let Some(synapse) = Synapse::start(NAME, &authority, &settings).await else { return };
    let (folder, mail) = (new_folder(), Sink::start_with(Offer::default(), &authority).await);
    let (certificate, key) = authority.issue(&["127.0.0.1"]).write_pem(folder.path());
    let ca = authority.write_pem(folder.path());
    let config = format!(
        "[server]\ndata_dir = \"data\"\npublic_base_url = \"https://{address}\"\n[http]\nbind = {address:?}\n\
         tls_cert_file = {certificate:?}\ntls_key_file = {key:?}\n[email]\nfrom = \"id@example.org\"\n{}\n\
         [outbound]\nextra_ca_file = {ca:?}\n{}",
        mail.config(),
        blocks("identity.toml", &address, &synapse.address(), ""),
    );
    let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
    let api = Api::trusting(&server.url(), &authority.pem());
    let world = World { server, homeserver: Homeserver::start("other.example").await, mail, api };

    let (alice, bob) = (synapse.register("alice").await, synapse.register("bob").await);
    let (of_alice, of_bob) = (account(&world, &synapse, &alice).await, account(&world, &synapse, &bob).await);
    add(&synapse, &of_synapse, &alice, "alice@example.com").await;
    bind(&world, &synapse, &alice, &of_alice, "alice@example.com").await;
    assert_eq!(world.look_up(&of_bob, "alice@example.com", "email").await.as_ref(), Some(&alice.id));

    // An invitation to an address that no account has yet, until its owner shares it.
    let room = synapse.api.post("/_matrix/client/v3/createRoom", json!({ "name": "Quarry" })).bearer(&alice.token);
    let room = room.send().await.expect(200)["room_id"].as_str().expect("a room").to_owned();
    let invitation = json!({
        "id_server": address, "id_access_token": of_alice, "medium": "email", "address": "bob@example.com",
    });
    let invite = synapse.api.post(&format!("/_matrix/client/v3/rooms/{room}/invite"), invitation).bearer(&alice.token);
    invite.send().await.expect(200);
    let letter = world.mail.wait_for("bob@example.com", 1, DEADLINE).await;
    assert!(letter.message().text().contains("Quarry"), "{}", letter.message().text());
    bind(&world, &synapse, &bob, &of_bob, "bob@example.com").await;
    wait_for("the invitation, which lets him join", DEADLINE, async || {
        let join = synapse.api.post(&format!("/_matrix/client/v3/join/{room}"), json!({})).bearer(&bob.token);
        Some(join.send().await).filter(|answer| answer.code() == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_other_homeservers_are_refused_as_the_page_says() {
    let folder = new_folder();
    let homeserver = Homeserver::start("other.example").await;
    let config = format!(
        "[server]\ndata_dir = \"data\"\n[http]\nbind = \"127.0.0.1:0\"\n{}\n{}",
        homeserver.config(folder.path()),
        blocks("identity.toml", "", "127.0.0.1:1", "").split("[federation").next().expect("the first table"),
    );
    let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
    let answer =
        Api::new(&server.url()).post(&v2("/account/register"), homeserver.open_id_token("@mallory:other.example"));
    answer.send().await.refused(403, "M_UNAUTHORIZED");
}
