//! Invitations that end by themselves: `[invites] expire_after`.

use harness::wait::wait_for;
use serde_json::Value;

use super::{BOB, EPHEMERAL, NO_LIMITS, invitation, invite, is_valid, world_with};
use harness::world::identity::{DEADLINE, databases, v2};

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_has_waited_too_long_takes_its_key_with_it() {
    for database in databases().await {
        let tables = format!("{NO_LIMITS}{database}[invites]\nexpire_after = \"3s\"\n");
        let (world, alice) = world_with(&tables).await;
        let invited = invite(&world, &alice, invitation(BOB)).await;
        assert!(is_valid(&world, EPHEMERAL, invited.public_key()).await);
        let sign = || world.api.post(&invited.link.sign_path(), Value::Null).query("mxid", "@bob:hs.example").send();
        sign().await.expect(200);
        wait_for("the invitation to end", DEADLINE, async || {
            (!is_valid(&world, EPHEMERAL, invited.public_key()).await).then_some(())
        })
        .await;
        sign().await.refused(404, "M_UNRECOGNIZED");
        let by_v2 = world.api.post(&v2("/sign-ed25519"), invited.link.to_sign("@bob:hs.example")).bearer(&alice);
        by_v2.send().await.refused(404, "M_UNRECOGNIZED");
        // Another one of the same address has its own time.
        let next = invite(&world, &alice, invitation(BOB)).await;
        assert!(is_valid(&world, EPHEMERAL, next.public_key()).await);
    }
}
