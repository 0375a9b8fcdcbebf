//! Huawei Push Kit, versions 1 and 3.
//!
//! Invariant: the fake Push Kit verifies every token and checks every message.

mod credentials;
mod messages;
mod outcomes;

use harness::world::push::{World, huawei_app};

/// An app of version 3.
const HARMONY: &str = "com.example.harmony";
/// An app of version 1.
const HMS: &str = "com.example.hms";
/// An app of calls.
const CALLS: &str = "com.example.calls";

/// Without the mass-rejection guard.
const BELIEVING: &str = "[rejection_breaker]\nenabled = false\n";

/// A gateway with the three apps.
async fn world() -> World {
    let apps = [huawei_app(3, HARMONY, ""), huawei_app(1, HMS, ""), huawei_app(3, CALLS, "push_type = \"voip\"\n")];
    World::serving("", BELIEVING, &apps).await
}
