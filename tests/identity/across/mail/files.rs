//! Mail into files, for development.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use harness::mail::Message;

use super::{BOB, request};
use harness::world::identity::{Settings, World, confirmed};

#[tokio::test(flavor = "multi_thread")]
async fn each_mail_becomes_a_file_that_only_its_owner_can_read() {
    for (email, folder) in [
        ("transport = \"file\"", "data/mail"),
        ("transport = \"file\"\nfile_dir = \"outgoing/mails\"", "outgoing/mails"),
    ] {
        let world = World::with(Settings { email, ..Settings::default() }).await;
        let bob = world.register("@bob:hs.example").await;
        let folder = world.server.folder().join(folder);
        let sid = world.ask(&bob, request("s", BOB)).await.expect(200)["sid"].clone();
        world.ask(&bob, request("s", BOB)).await.expect(200);
        world.ask(&bob, request("t", "alice@example.com")).await.expect(200);
        let files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let mut mails = HashMap::new();
        for path in files {
            assert_eq!(path.extension().and_then(|extension| extension.to_str()), Some("eml"), "{}", path.display());
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
            let message = Message::parse(&std::fs::read(&path).unwrap());
            let to = message.header("To").unwrap().to_owned();
            assert!(mails.insert(to, message).is_none(), "one mail to each: {}", path.display());
        }
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o077, 0, "the folder is closed too");
        assert!(mails.len() == 2 && mails.contains_key("alice@example.com"), "{mails:?}");
        let message = &mails[BOB];
        assert_eq!(message.validation_parameter("sid"), sid.as_str().unwrap());
        let link = message.validation_link();
        assert_eq!(world.api.get(&confirmed(&link)).send().await.code(), 200);
        assert_eq!(world.mail.connections(), 0);
        assert!(world.server.logs().contains("development only"), "{}", world.server.logs());
    }
}
