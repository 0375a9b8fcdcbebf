//! For whom a request is signed: every name by which we go, with or without the path that a proxy takes away.
//!
//! Invariant: a signature for another server is rejected in every form.

use serde_json::json;

use super::{Bound, NAME, content};
use harness::world::identity::Settings;

const UNBIND: &str = "/_matrix/identity/v2/3pid/unbind";

#[tokio::test(flavor = "multi_thread")]
async fn it_must_be_one_of_our_names_in_the_header_and_in_what_is_signed() {
    let server = "public_base_url = \"https://Matrix.example.org:8448\"\naliases = [\"old.example.org\", \"a.b:80/x\"]";
    let bound = Bound::with(Settings { server, ..Settings::default() }).await;
    for name in [NAME, "matrix.example.org:8448", "old.example.org", "a.b:80/x"] {
        let request = bound.request().signed_for("destination_is", name);
        bound.accepts(&request.clone().destination(Some(name)).header()).await;
        bound.accepts(&request.clone().destination(None).header()).await;
        bound.accepts(&request.signed_for("destination", name).destination(Some(name)).header()).await;
        bound.accepts(&bound.request().signed_for("destination", name).destination(None).header()).await;
    }
    // The name is signed as it stands in the header, and a host has no case.
    for name in ["ID.Example.ORG", "MATRIX.example.org:8448", "OLD.example.org", "A.B:80/x"] {
        let request = bound.request().signed_for("destination_is", name).destination(Some(name));
        bound.accepts(&request.header()).await;
        let lower = bound.request().destination(Some(name));
        bound.refuses(&lower.header(), 403, "M_FORBIDDEN").await;
        bound.refuses(&request.destination(None).header(), 403, "M_FORBIDDEN").await;
    }
    for name in [
        "",
        "other.example",
        "matrix.example.org",
        "id.example.org:8448",
        "id.example.org:443",
        "old.example.org/x",
        "a.b:80",
        "a.b:80/X",
        "a.b:80/x/",
        "evil.id.example.org",
        "id.example.org.evil",
        "https://id.example.org",
        "hs.example",
        "localhost",
    ] {
        let request = bound.request().signed_for("destination_is", name);
        bound.refuses(&request.clone().destination(Some(name)).header(), 401, "M_UNAUTHORIZED").await;
        // It cannot be smuggled in by saying something else, or nothing, in the header.
        bound.refuses(&request.clone().destination(None).header(), 403, "M_FORBIDDEN").await;
        bound.refuses(&request.destination(Some(NAME)).header(), 403, "M_FORBIDDEN").await;
        bound.refuses(&bound.request().destination(Some(name)).header(), 401, "M_UNAUTHORIZED").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_does_not_say_for_whom_it_is_is_refused() {
    let bound = Bound::start().await;
    for destination in [Some(NAME), None] {
        let request = bound.request().without_signed_destination().destination(destination);
        bound.refuses(&request.header(), 403, "M_FORBIDDEN").await;
        for member in ["Destination", "destination_was", "to"] {
            let request = bound.request().signed_for(member, NAME).destination(destination);
            bound.refuses(&request.header(), 403, "M_FORBIDDEN").await;
        }
    }
    bound.accepts(&bound.request().header()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_header_is_worth_nothing_at_another_identity_server() {
    let (here, there) = (Bound::start().await, Bound::with(elsewhere()).await);
    let captured = there.world.homeserver.request(UNBIND, "id.other.example", &content()).header();
    let answer = there.send(&[captured.as_bytes()]).await;
    assert_eq!(answer.expect(200), json!({}), "there it is good");
    // The same homeserver here and there: its name and its key.
    here.world.homeserver.change_key(there.world.homeserver.key());
    here.refuses(&captured, 401, "M_UNAUTHORIZED").await;
    here.refuses(&captured.replace("id.other.example", NAME), 403, "M_FORBIDDEN").await;
    let (without, _) = captured.rsplit_once(",destination").expect("a destination");
    here.refuses(without, 403, "M_FORBIDDEN").await;
    here.accepts(&here.request().header()).await;
}

fn elsewhere() -> Settings<'static> {
    Settings { server: "public_base_url = \"https://id.other.example\"", ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_path_the_homeserver_may_sign_with_it_or_without() {
    let server = "public_base_url = \"https://example.org/identity\"";
    let taken_away = Bound::with(Settings { server, ..Settings::default() }).await;
    let left = Bound::with(Settings { server, http: "base_path = \"/identity\"", ..Settings::default() }).await;
    for bound in [&taken_away, &left] {
        for name in [NAME, "example.org", "example.org/identity"] {
            for uri in [UNBIND.to_owned(), format!("/identity{UNBIND}")] {
                for destination in [Some(name), None] {
                    let request = bound.request().signed_for("destination_is", name).uri(&uri);
                    bound.accepts(&request.destination(destination).header()).await;
                }
            }
        }
        for uri in [format!("/other{UNBIND}"), format!("/identity/identity{UNBIND}"), format!("identity{UNBIND}")] {
            bound.refuses(&bound.request().uri(&uri).header(), 403, "M_FORBIDDEN").await;
        }
        for name in ["example.org/Identity", "example.org/identity/", "example.org/", "example.org/identity/x"] {
            let request = bound.request().signed_for("destination_is", name).destination(Some(name));
            bound.refuses(&request.header(), 401, "M_UNAUTHORIZED").await;
        }
    }
    let without_path = Bound::start().await;
    let prefixed = without_path.request().uri(&format!("/identity{UNBIND}"));
    without_path.refuses(&prefixed.header(), 403, "M_FORBIDDEN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_is_signed_with_the_path() {
    let bound = Bound::start().await;
    for (signed, sent, fits) in [
        ("?", "?", true),
        ("?access_token=x", "?access_token=x", true),
        ("?a=%41&b=/..//", "?a=%41&b=/..//", true),
        ("", "?", false),
        ("?", "", false),
        ("", "?a=b", false),
        ("?a=b", "", false),
        ("?a=b", "?a=c", false),
        ("?a=b&c=d", "?c=d&a=b", false),
        ("?a=%41", "?a=A", false),
    ] {
        let header = bound.request().uri(&format!("{UNBIND}{signed}")).header();
        let answer = bound.send_to(&format!("{UNBIND}{sent}"), &[header.as_bytes()], &content().to_string()).await;
        if fits {
            assert_eq!(answer.expect(200), json!({}), "{sent}");
            bound.expect_unbound().await;
        } else {
            bound.refused(&answer, 403, "M_FORBIDDEN", sent).await;
        }
    }
}
