//! Texts of a caller cannot change the structure of a mail.
//!
//! Invariant: a mail is compared with a harmless one, part by part, and not searched for known attacks.

use std::time::Duration;

use harness::mail::Mail;
use harness::raw;
use serde_json::json;

use super::{BOB, request};
use harness::world::identity::{Settings, World, v2};

const ASK: &str = "/validate/email/requestToken";

/// Texts that would change a mail if it contained them unescaped.
const HOSTILE: [&str; 18] = [
    "x\r\nBcc: evil@evil.example",
    "x\nBcc: evil@evil.example",
    "x\rBcc: evil@evil.example",
    "\r\n\r\n<p>body</p>",
    "\r\n.\r\nMAIL FROM:<evil@evil.example>\r\n",
    "x>\r\nRCPT TO:<evil@evil.example>\r\n",
    "\r\n--boundary--\r\n",
    "%0d%0aBcc:%20evil@evil.example",
    "evil@evil.example",
    "<a href=\"https://evil.example\">x</a>",
    "{{ token }}{% for x in y %}",
    "%(token)s%",
    "=?utf-8?q?Bcc=3A_evil=40evil=2Eexample?=",
    "\u{202e}gpj.exe",
    "x\u{2028}y\u{85}z",
    "\0",
    "${jndi:ldap://evil.example}",
    "../../../../etc/passwd",
];

/// A mail without the parts that differ each time: Date, Message-ID, boundary, token and link.
fn shape(mail: &Mail) -> String {
    let message = mail.message();
    let mut shape = format!("{} {:?} {:?}\n", mail.from, mail.to, mail.parameters);
    for (name, value) in &message.headers {
        let value = match name.as_str() {
            "Date" | "Message-ID" => "",
            "Content-Type" => value.split("boundary").next().unwrap_or_default(),
            _ => value,
        };
        shape.push_str(&format!("{name}: {value}\n"));
    }
    for part in &message.parts {
        shape.push_str(&format!("--- {}\n{}", part.content_type, part.text));
    }
    for name in ["token", "sid", "client_secret"] {
        shape = shape.replace(&message.validation_parameter(name), name);
    }
    shape
}

struct Trial {
    world: World,
    bob: String,
    untouched: String,
    asked: usize,
}

impl Trial {
    async fn begin() -> Self {
        let settings = Settings {
            http: "trusted_proxies = [\"127.0.0.0/8\"]",
            tables: "[limits]\nenabled = false",
            ..Settings::default()
        };
        let world = World::with(settings).await;
        let bob = world.register("@bob:hs.example").await;
        world.ask(&bob, request("baseline", BOB)).await.expect(200);
        let untouched = shape(&world.mail.mails()[0]);
        assert!(untouched.contains("(IP address: <bdi>127.0.0.1</bdi>)"), "{untouched}");
        Self { world, bob, untouched, asked: 0 }
    }

    fn secret(&mut self) -> String {
        self.asked += 1;
        format!("secret{}", self.asked)
    }

    /// Checks that after `before` mails one more arrived, to Bob alone, with the expected content.
    #[track_caller]
    fn one_untouched_mail(&self, before: usize, what: &str) {
        let mails = self.world.mail.mails();
        assert_eq!(mails.len(), before + 1, "{what}");
        assert_eq!(shape(&mails[before]), self.untouched, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brand_and_language_do_not_reach_the_mail() {
    let mut trial = Trial::begin().await;
    for hostile in HOSTILE {
        for name in ["brand", "lang"] {
            let (before, body) = (trial.world.mail.mails().len(), request(&trial.secret(), BOB));
            let call = trial.world.api.post(&v2(ASK), body).bearer(&trial.bob).query(name, hostile);
            call.send().await.expect(200);
            trial.one_untouched_mail(before, &format!("{name}: {hostile:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_do_not_reach_the_mail() {
    let mut trial = Trial::begin().await;
    let mut sent = 0;
    for hostile in HOSTILE {
        // These are never valid in a header; see the test below.
        if hostile.contains(['\r', '\n', '\0']) {
            continue;
        }
        for name in ["accept-language", "x-forwarded-for", "x-request-id", "user-agent", "forwarded", "x-real-ip"] {
            sent += 1;
            let (before, body) = (trial.world.mail.mails().len(), request(&trial.secret(), BOB));
            let call = trial.world.api.post(&v2(ASK), body).bearer(&trial.bob).header(name, hostile);
            let answer = call.send().await;
            answer.expect(200);
            let id = answer.header("x-request-id").expect("an id");
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
            trial.one_untouched_mail(before, &format!("{name}: {hostile:?}"));
        }
    }
    assert_eq!(sent, 10 * 6);
    // Only the address from a trusted proxy is used.
    let body = request(&trial.secret(), BOB);
    let call = trial.world.api.post(&v2(ASK), body).bearer(&trial.bob).header("x-forwarded-for", "6.6.6.6, 192.0.2.7");
    call.send().await.expect(200);
    let last = shape(trial.world.mail.mails().last().unwrap());
    assert_eq!(
        last,
        trial
            .untouched
            .replace("IP address: 127.0.0.1", "IP address: 192.0.2.7")
            .replace("<bdi>127.0.0.1</bdi>)", "<bdi>192.0.2.7</bdi>)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_goes_on_in_another_line_is_refused_or_ignored() {
    let mut trial = Trial::begin().await;
    for name in ["Accept-Language", "X-Forwarded-For", "X-Request-Id"] {
        for end in ["\r\n ", "\n ", "\r ", "\n", "\r", "\0"] {
            let (before, body) = (trial.world.mail.mails().len(), request(&trial.secret(), BOB).to_string());
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Length: {}\r\n\
                 {name}: en{end}Bcc: evil@evil.example\r\n\r\n",
                v2(ASK),
                trial.bob,
                body.len()
            );
            let bytes = [head.as_bytes(), body.as_bytes()].concat();
            let answer = raw::exchange(trial.world.server.address(), &bytes, Duration::from_secs(30)).await;
            let what = format!("{name} with {end:?}");
            match answer.map(|answer| answer.status).unwrap_or(400) {
                200 => trial.one_untouched_mail(before, &what),
                status => assert_eq!((status, trial.world.mail.mails().len()), (400, before), "{what}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_the_body_reach_the_mail_only_in_their_own_form() {
    let mut trial = Trial::begin().await;
    for hostile in HOSTILE {
        let before = trial.world.mail.mails().len();
        let body = json!({ "client_secret": hostile, "email": BOB, "send_attempt": 1 });
        trial.world.ask(&trial.bob, body).await.refused(400, "M_INVALID_PARAM");
        assert_eq!(trial.world.mail.mails().len(), before, "client_secret {hostile:?}");

        let mut body = request(&trial.secret(), BOB);
        body["next_link"] = format!("https://app.example/?{hostile}").into();
        let answer = trial.world.ask(&trial.bob, body).await;
        match answer.code() {
            200 => trial.one_untouched_mail(before, &format!("next_link {hostile:?}")),
            _ => {
                answer.refused(400, "M_INVALID_PARAM");
                assert_eq!(trial.world.mail.mails().len(), before, "next_link {hostile:?}");
            }
        }

        let before = trial.world.mail.mails().len();
        let mut body = request(&trial.secret(), BOB);
        for name in ["to", "from", "subject", "cc", "bcc", "token", "link", "ipaddress", "brand", "lang", hostile] {
            body[name] = hostile.into();
        }
        trial.world.ask(&trial.bob, body).await.expect(200);
        trial.one_untouched_mail(before, &format!("unknown fields {hostile:?}"));
    }
    let taken = trial.world.mail.mails().len();
    assert!(taken > 1 + HOSTILE.len(), "some links are good and their mails go out: {taken}");
}
