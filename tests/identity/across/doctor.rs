//! `identity doctor` in deployments that work and in broken ones: each failure is named with its cause and its next step.

use std::net::SocketAddr;

use harness::binary;
use harness::certificates::{Authority, Certificate};
use harness::doctor::has;
use harness::homeserver::{Fault, Homeserver};
use harness::mail::{Offer, Sink, Tls};
use harness::process::{Server, new_folder, run};
use harness::world::identity::DEADLINE;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a reverse proxy does to a request or a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proxying {
    /// What it should do.
    Right,
    /// It does not name the client.
    WithoutForwardedFor,
    /// It adds a prefix to every path.
    WithPrefix,
    /// It adds a second Access-Control-Allow-Origin.
    WithOwnCors,
    /// It answers OPTIONS itself.
    AnswersOptions,
    /// It redirects to another host.
    Redirects,
    /// It asks for a password.
    AsksForLogin,
    /// Another web site is there.
    AnotherSite,
    /// It finds no upstream.
    WithoutUpstream,
    /// It passes the API on, and not the pages.
    WithoutPages,
    /// It removes the access token.
    WithoutAuthorization,
    /// It removes the cross-origin headers but one.
    StripsCors,
    /// It names the client "unknown".
    SendsUnknown,
    /// It names a client that is a reverse proxy, as doctor is on the same machine.
    NamesItself,
}

/// A reverse proxy on a port of its own; one request for each connection.
async fn reverse_proxy(upstream: SocketAddr, proxying: Proxying) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, upstream, proxying));
        }
    });
    address
}

async fn pass_on(mut client: TcpStream, upstream: SocketAddr, proxying: Proxying) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let own = match proxying {
        Proxying::Redirects => Some("301 Moved Permanently\r\nLocation: https://www.example.org/"),
        Proxying::AsksForLogin => Some("401 Unauthorized\r\nWWW-Authenticate: Basic"),
        Proxying::AnotherSite => Some("404 Not Found"),
        Proxying::WithoutUpstream => Some("502 Bad Gateway"),
        Proxying::WithoutPages if head.contains(" /_identity/") => Some("404 Not Found"),
        Proxying::AnswersOptions if head.starts_with("OPTIONS") => Some("204 No Content"),
        _ => None,
    };
    if let Some(own) = own {
        let response = format!("HTTP/1.1 {own}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = client.write_all(response.as_bytes()).await;
        return;
    }
    let mut head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    match proxying {
        Proxying::WithoutForwardedFor => {}
        Proxying::NamesItself => head = head.replacen("\r\n", "\r\nX-Forwarded-For: 127.0.0.1\r\n", 1),
        Proxying::SendsUnknown => head = head.replacen("\r\n", "\r\nX-Forwarded-For: unknown\r\n", 1),
        _ => head = head.replacen("\r\n", "\r\nX-Forwarded-For: 203.0.113.7\r\n", 1),
    }
    if proxying == Proxying::WithoutAuthorization {
        head = head.replace("authorization:", "x-removed:");
    }
    if proxying == Proxying::WithPrefix {
        head = head.replacen(" /", " /prefix/", 1);
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let mut response = Vec::new();
    if server.write_all(head.as_bytes()).await.is_err() || server.read_to_end(&mut response).await.is_err() {
        return;
    }
    let mut response = String::from_utf8_lossy(&response).into_owned();
    if proxying == Proxying::WithOwnCors {
        response = response.replacen("\r\n", "\r\nAccess-Control-Allow-Origin: *\r\n", 1);
    }
    if proxying == Proxying::StripsCors {
        response = response.replace("access-control-allow-headers", "x-removed");
    }
    let _ = client.write_all(response.as_bytes()).await;
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address").port()
}

/// A running server with fixed ports, its homeserver and its relay.
struct Deployment {
    server: Server,
    homeserver: Homeserver,
    mail: Sink,
    text: String,
    main: SocketAddr,
}

impl Deployment {
    async fn start() -> Self {
        let authority = Authority::new("the world's authority");
        let homeserver = Homeserver::start_with("hs.example", &authority, "127.0.0.1:0").await;
        let credentials = Some(("user".to_owned(), "hunter2".to_owned()));
        let mail = Sink::start_with(Offer { tls: Tls::StartTls, credentials, ..Offer::default() }, &authority).await;
        let folder = new_folder();
        let (main, admin) = (free_port().await, free_port().await);
        let text = format!(
            "[server]\ndata_dir = \"data\"\n[http]\nbind = \"127.0.0.1:{main}\"\ntrusted_proxies = [\"127.0.0.1\"]\n[admin]\n\
             bind = \"127.0.0.1:{admin}\"\n{}\n[email]\nusername = \"user\"\npassword = \"hunter2\"\n{}\n",
            homeserver.config(folder.path()),
            mail.config(),
        );
        let server = Server::start_in(folder, binary::identity(), &text, &[]).await;
        Self { server, homeserver, mail, text, main: SocketAddr::from(([127, 0, 0, 1], main)) }
    }

    /// The exit code and the output of `doctor` with another configuration than that of the server.
    async fn examine(&self, text: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let folder = self.server.folder();
        std::fs::create_dir_all(folder.join("other")).expect("a folder");
        let text = text.replace("data_dir = \"data\"", "data_dir = \"../data\"");
        std::fs::write(folder.join("other/config.toml"), text).expect("a folder");
        let output = run(binary::identity(), &folder.join("other"), &[&["doctor"], arguments].concat(), &[]).await;
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_works_has_no_failure() {
    let deployment = Deployment::start().await;
    let proxy = reverse_proxy(deployment.main, Proxying::Right).await;
    let url = format!("http://{proxy}");
    let arguments = ["--public-url", &url, "--homeserver", "hs.example", "--to", "admin@example.com"];
    let (code, output) = deployment.examine(&deployment.text, &arguments).await;
    assert_eq!(code, Some(0), "{output}");
    for (subject, text) in [
        ("configuration", "config.toml"),
        ("database", "SQLite, migrated"),
        ("listener", "the identity server answers on 127.0.0.1:"),
        ("public URL", "accepts connections"),
        ("reverse proxy", "is answered by the identity server"),
        ("cross-origin headers", "browsers of every origin"),
        ("client address", "203.0.113.7, from X-Forwarded-For of the reverse proxy at 127.0.0.1"),
        ("access tokens", "arrive"),
        ("key validity", "homeservers find ed25519:0 valid"),
        ("registration", "users of hs.example"),
        ("homeserver, discovery", "[federation.overrides] leads to 127.0.0.1:"),
        ("OpenID", "hs.example answers, and rejects an unknown token"),
        ("mail relay", "accepts the login"),
        ("test mail", "the relay accepted a mail to admin@example.com"),
    ] {
        has(&output, "ok", subject, text);
    }
    assert!(output.ends_with("no check failed\n") && !output.contains("hunter2"), "{output}");
    let mail = deployment.mail.wait_for("admin@example.com", 1, DEADLINE).await;
    assert!(mail.message().text().contains("test mail of the identity server"), "{}", mail.message().text());

    let (code, json) = deployment.examine(&deployment.text, &["--json"]).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, json["failures"].as_u64()), (Some(0), Some(0)), "{json}");
    let findings = json["findings"].as_array().expect("a list");
    assert!(findings.iter().any(|it| it["subject"] == "database" && it["status"] == "ok"), "{json}");
    assert!(findings.iter().any(|it| it["subject"] == "homeserver" && it["status"] == "skipped"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reverse_proxy_does_wrong_is_named_with_the_lines_that_it_lacks() {
    use Proxying::{
        AnotherSite, AnswersOptions, AsksForLogin, Redirects, SendsUnknown, StripsCors, WithOwnCors, WithPrefix,
        WithoutAuthorization, WithoutForwardedFor, WithoutPages, WithoutUpstream,
    };
    let deployment = Deployment::start().await;
    for (proxying, subject, cause, next_step) in [
        (Redirects, "reverse proxy", "redirects to https://www.example.org/", "correct --public-url"),
        (AsksForLogin, "reverse proxy", "401: the reverse proxy asks for a login", "without one"),
        (
            AnotherSite,
            "reverse proxy",
            "404: another program answers",
            "pass requests below /_matrix/identity/, /_identity/v1/",
        ),
        (WithoutPages, "reverse proxy", "links in invitations lead there", "/_identity/v1/ on too"),
        (WithoutAuthorization, "access tokens", "answered with 401", "Authorization on unchanged"),
        (StripsCors, "cross-origin headers", "no Authorization in Access-Control-Allow-Headers", "change no header"),
        (SendsUnknown, "client address", "names no address", "$remote_addr"),
        (WithoutUpstream, "reverse proxy", "502: the reverse proxy does not reach", "start the identity server"),
        (WithPrefix, "reverse proxy", "404 M_UNRECOGNIZED: the identity server gets another path", "[http] base_path"),
        (WithOwnCors, "cross-origin headers", "Access-Control-Allow-Origin twice", "remove it from the reverse proxy"),
        (AnswersOptions, "cross-origin headers", "OPTIONS", "pass OPTIONS on"),
        (WithoutForwardedFor, "client address", "sends no X-Forwarded-For", "[http] trusted_proxies"),
    ] {
        let url = format!("http://{}", reverse_proxy(deployment.main, proxying).await);
        let (code, output) = deployment.examine(&deployment.text, &["--public-url", &url]).await;
        has(&output, "FAILED", subject, cause);
        assert!(code == Some(1) && output.contains("1 check failed") && output.contains(next_step), "{output}");
        let has_snippet = output.contains("proxy_set_header X-Forwarded-For")
            && output.contains("reverse_proxy @identity 127.0.0.1:");
        let is_at_fault = !matches!(proxying, WithoutUpstream | WithoutAuthorization);
        assert_eq!(has_snippet, is_at_fault, "{output}");
    }
    // A client that is trusted itself shows nothing.
    let url = format!("http://{}", reverse_proxy(deployment.main, Proxying::NamesItself).await);
    let (code, output) = deployment.examine(&deployment.text, &["--public-url", &url]).await;
    has(&output, "note", "client address", "not visible from here");
    assert_eq!(code, Some(0), "{output}");
    // A proxy that the running server does not trust.
    let untrusted = deployment.text.replace("trusted_proxies = [\"127.0.0.1\"]", "");
    let mut deployment = deployment;
    deployment.server.restart_with(&untrusted).await;
    let url = format!("http://{}", reverse_proxy(deployment.main, Proxying::Right).await);
    let (_, output) = deployment.examine(&untrusted, &["--public-url", &url]).await;
    has(&output, "FAILED", "client address", "X-Forwarded-For of 127.0.0.1 is not trusted");
    assert!(output.contains("add \"127.0.0.1\" to [http] trusted_proxies"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_behind_the_server_is_named_with_its_cause_and_next_step() {
    let deployment = Deployment::start().await;
    let (text, closed) = (&deployment.text, free_port().await);
    let relay = format!("port = {}", deployment.mail.address().port());
    let homeserver = deployment.homeserver.address().to_string();
    let other_key = "[keys]\nfile = \"other.key\"\n[email]";
    std::fs::create_dir_all(deployment.server.folder().join("other")).expect("a folder");
    let line = "ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
    std::fs::write(deployment.server.folder().join("other/other.key"), line).expect("a folder");
    let url = format!("http://{}", reverse_proxy(deployment.main, Proxying::Right).await);
    let no_tls = format!("https://localhost:{}", deployment.homeserver.address().port());
    let nothing = format!("http://127.0.0.1:{closed}");
    let tls_on_plain = format!("https://{}", deployment.main);
    let other_homeserver = ["--homeserver", "localhost:1"];
    let hs = ["--homeserver", "hs.example"];
    for (from, to, arguments, subject, cause, next_step) in [
        (
            "host = \"localhost\"",
            "host = \"nowhere.invalid\"",
            &[][..],
            "mail relay",
            "nowhere.invalid",
            "[email] host",
        ),
        (&relay, &format!("port = {closed}"), &[], "mail relay", "Connection refused", "port 25"),
        ("tls = \"starttls\"", "tls = \"tls\"", &[], "mail relay", "localhost:", "\"starttls\", or port to 465"),
        ("hunter2", "hunter3", &[], "mail relay", "login failed", "[email] username and password"),
        (
            &homeserver,
            &format!("127.0.0.1:{closed}"),
            &hs,
            &format!("homeserver, connection to 127.0.0.1:{closed}"),
            "Connection refused",
            "[federation.overrides]",
        ),
        (
            "overrides.\"hs.example\"",
            "overrides.\"x.example\"",
            &other_homeserver,
            "homeserver, connection to localhost:1",
            "[outbound] allow_cidrs",
            "add the network of this address to [outbound] allow_cidrs",
        ),
        (
            "[email]",
            "[registration]\nallow_servers = [\"other.example\"]\n[email]",
            &hs,
            "registration",
            "allow_servers excludes hs.example",
            "add it to [registration] allow_servers",
        ),
        (
            "[email]",
            &format!("[database]\nurl = \"postgres://u@127.0.0.1:{closed}/d\"\n[email]"),
            &[],
            "database",
            "",
            "[database] url",
        ),
        ("[email]", other_key, &["--public-url", &url], "key validity", "does not know the key ed25519:0", "SIGHUP"),
        (
            "[email]",
            "[email]",
            &["--public-url", &nothing],
            "public URL",
            "Connection refused",
            "start the reverse proxy",
        ),
        ("[email]", "[email]", &["--public-url", "https://nowhere.invalid"], "public URL", "", "create a DNS record"),
        ("extra_ca_file", "#", &["--public-url", &no_tls], "public URL", "UnknownIssuer", "fullchain.pem"),
        ("[email]", "[email]", &["--public-url", "ftp://localhost"], "public URL", "not http or https", "give a URL"),
        ("[email]", "[email]", &["--public-url", &tls_on_plain], "public URL", "InvalidContentType", "speaks TLS"),
        (
            "[email]",
            "[registration]\ndeny_servers = [\"hs.*\"]\n[email]",
            &hs,
            "registration",
            "deny_servers excludes",
            "remove the pattern",
        ),
        ("[email]", "[email]", &["--to", "no-address"], "test mail", "no-address", "a mailbox"),
        (
            "[email]",
            "[email]\nallow_domains = [\"a.example\"]",
            &["--to", "x@b.example"],
            "test mail",
            "allow_domains",
            "another domain",
        ),
        ("[http]\nbind", "[http]\nkeep_alive", &[], "configuration", "[http] keep_alive", "correct it"),
    ] as [(&str, &str, &[&str], &str, &str, &str); 18]
    {
        let changed = text.replacen(from, to, 1);
        let (code, output) = deployment.examine(&changed, arguments).await;
        has(&output, "FAILED", subject, cause);
        assert!(code == Some(1) && output.contains(next_step) && !output.contains("hunter"), "{next_step}\n{output}");
    }
    // A homeserver that serves no OpenID there.
    let path = "/_matrix/federation/v1/openid/userinfo";
    for (status, cause) in
        [(404, "with 404"), (403, "before the homeserver"), (502, "the homeserver behind it does not")]
    {
        deployment.homeserver.fault(path, Fault::reply(status, "<html>"));
        let (_, output) = deployment.examine(text, &hs).await;
        has(&output, "FAILED", "OpenID", cause);
    }
    // A certificate that is not trusted.
    deployment.homeserver.set_certificate(&Certificate::self_signed(&["hs.example"]));
    let (_, output) = deployment.examine(text, &hs).await;
    let step = format!("homeserver, connection to {homeserver}");
    has(&output, "FAILED", &step, "[outbound] extra_ca_file");
    // A provider of SMS that does not accept the credential.
    let provider = reverse_proxy(deployment.main, Proxying::AsksForLogin).await;
    let sms = format!(
        "[sms]\nprovider = \"twilio\"\nrules.\"44\" = \"allow\"\n[sms.twilio]\naccount_sid = \"AC01\"\nauth_token = \
         \"hunter2\"\nurl = \"http://{provider}\"\n"
    );
    let (_, output) = deployment.examine(&format!("{text}\n{sms}"), &[]).await;
    has(&output, "FAILED", "SMS, twilio", "401");
    assert!(output.contains("check the keys of [sms.twilio]") && !output.contains("hunter"), "{output}");
    // A server that does not run, and another program in its place.
    let taken = free_port().await;
    let stopped = text.replace(&format!("127.0.0.1:{}", deployment.main.port()), &format!("127.0.0.1:{taken}"));
    let (_, output) = deployment.examine(&stopped, &[]).await;
    has(&output, "FAILED", "listener", &format!("nothing listens on 127.0.0.1:{taken}"));
    let site = reverse_proxy(deployment.main, Proxying::AnotherSite).await;
    let other = text.replace(&format!("127.0.0.1:{}", deployment.main.port()), &site.to_string());
    let (_, output) = deployment.examine(&other, &[]).await;
    has(&output, "FAILED", "listener", "another program listens on");
}
