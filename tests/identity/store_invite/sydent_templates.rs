//! Templates that come from Sydent and spell out another identity server, and texts with unknown placeholders.
//!
//! Invariant: no mail carries an invitation's key or a validation token to another host.

use std::path::Path;

use harness::binary;
use harness::process::{new_folder, run};
use harness::world::identity::{DEADLINE, Settings, World, v2};
use serde_json::json;

const SERVER: &str =
    "name = \"id.example.org\"\npublic_base_url = \"https://id.example.org/ids\"\nallow_http_base_url = true";

/// As Sydent's: the address of its operator's server, percent-encoded in a parameter, once for each syntax.
const FILES: [(&str, &str); 4] = [
    (
        "matrix-org/invite_template.eml.j2",
        "Subject: Come\nContent-Type: text/plain; charset=utf-8\n\n\
         https://app.element.io/#/room/{{ room_id|urlencode }}?email={{ to|urlencode }}\
         &signurl=https%3A%2F%2Fids.foreign.example%3A8448%2F_matrix%2Fidentity%2Fv2%2Fsign-ed25519\
         %3Ftoken%3D{{ token|urlencode }}%26private_key%3D{{ ephemeral_private_key|urlencode }}\n",
    ),
    (
        "acme/invite_template.eml",
        "Subject: Come\nContent-Type: text/plain; charset=utf-8\n\n\
         https://app.element.io/#/room/%(room_id_forurl)s\
         ?signurl=https%%3a%%2f%%2fids.foreign.example%%2f_matrix%%2fidentity%%2fapi%%2fv1%%2fsign-ed25519\
         %%3Ftoken%%3D%(token)s%%26private_key%%3D%(ephemeral_private_key)s\n",
    ),
    (
        "matrix-org/verification_template.eml.j2",
        "Subject: Confirm\nContent-Type: text/html; charset=utf-8\n\n\
         <a href=\"http://IDS.foreign.example/_matrix/identity/v2/validate/email/submitToken?token={{ token }}\">\
         here</a> {{ link }}\n",
    ),
    (
        "acme/de/verification_template.eml",
        "Subject: Los\nContent-Type: text/plain; charset=utf-8\n\n\
         https://ids.foreign.example/_matrix/identity/api/v1/validate/email/submitToken?token=%(token)s %(link)s\n",
    ),
];

fn write(folder: &Path) {
    for (name, text) in FILES {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a brand")).expect("a folder");
        std::fs::write(path, text).expect("the folder takes files");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_template_with_a_foreign_host_is_named_and_its_mails_lead_to_this_server() {
    let templates = new_folder();
    write(templates.path());
    let tables = format!("[limits]\nenabled = false\n[templates]\ndir = {:?}\n", templates.path());
    let world = World::with(Settings { server: SERVER, tables: &tables, ..Settings::default() }).await;
    let output = world.server.run(&["check-config"]).await;
    let checked = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{checked}");
    for (name, _) in FILES {
        for said in [&checked, &world.server.logs()] {
            let line = said.lines().find(|line| line.contains(name));
            let line = line.unwrap_or_else(|| panic!("{name} is not named:\n{said}"));
            assert!(line.contains("ids.foreign.example") && line.contains("https://id.example.org/ids"), "{line}");
        }
    }

    let alice = world.register("@alice:hs.example").await;
    for (number, brand) in ["matrix-org", "acme"].into_iter().enumerate() {
        let address = format!("b{number}@example.com");
        let invitation = json!({
            "medium": "email", "address": address, "room_id": "!r:hs.example", "sender": "@alice:hs.example",
        });
        let call = world.api.post(&v2("/store-invite"), invitation).query("brand", brand).bearer(&alice);
        call.send().await.expect(200);
        let invite = world.mail.wait_for(&address, 1, DEADLINE).await.message().text().to_lowercase();
        let decoded = invite.replace("%3a", ":").replace("%2f", "/");
        assert!(!invite.contains("foreign"), "{brand}: {invite}");
        assert!(decoded.contains("signurl=https://id.example.org/ids/_matrix/identity/"), "{brand}: {decoded}");

        let body = json!({ "client_secret": "s", "email": address, "send_attempt": 1 });
        let call = world.api.post(&v2("/validate/email/requestToken"), body).query("brand", brand);
        call.header("accept-language", "de").bearer(&alice).send().await.expect(200);
        let mail = world.mail.wait_for(&address, 2, DEADLINE).await;
        let raw = String::from_utf8_lossy(&mail.raw).to_lowercase().replace("=\r\n", "");
        assert!(!raw.contains("foreign"), "{brand}: {raw}");
        assert!(raw.contains("https://id.example.org/ids/_matrix/identity/"), "{brand}: {raw}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_placeholders_in_subjects_and_texts_are_refused() {
    for (table, key) in [
        ("[invites]\nsubject = \"{sender_name} invites you\"", "[invites] subject"),
        ("[invites]\nsubject_space = \"{room_nam}\"", "[invites] subject_space"),
        ("[sms]\nbody_template = \"{token} {brand}\"", "[sms] body_template"),
        ("[sms]\nbody_template = \"{code}\"", "[sms] body_template"),
    ] {
        let folder = new_folder();
        let config = format!("[server]\ndata_dir = \"data\"\n{SERVER}\n[email]\nenabled = false\n{table}\n");
        std::fs::write(folder.path().join("config.toml"), config).expect("the configuration can be written");
        for command in ["check-config", "serve"] {
            let output = run(binary::identity(), folder.path(), &[command], &[]).await;
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success() && said.contains(key), "{command}, {table}: {said}");
        }
    }
}
