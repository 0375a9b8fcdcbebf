//! `--keep`: everything keeps running after the stories, until Ctrl-C.
//!
//! Invariant: after Ctrl-C every process has exited and every file is deleted.

use std::time::Duration;

use harness::world::push::{NOTIFY, World};

use crate::gateway::{ANDROID, IOS};
use crate::narrator::Narrator;
use crate::stage::Stage;
use crate::stories::email::Account;

/// The interval at which new mails and log lines are shown.
const INTERVAL: Duration = Duration::from_millis(200);

/// Prints requests to try, then shows mails, SMS, notifications and log lines as they arrive, until Ctrl-C.
pub(crate) async fn until_interrupted(stage: &Stage, account: &Account, gateway: &World, narrator: &mut Narrator) {
    narrator.say(&guide(stage, account));
    narrator.say(&guide_to_pushes(gateway));
    let (mut mails, mut pushes) = (stage.mail.mails().len(), gateway.apple.requests().len());
    let mut texts = stage.sms.accepted().len();
    let mut messages = gateway.google.messages().len();
    let mut logs = [stage.server.logs().len(), gateway.server.logs().len()];
    let mut ticks = tokio::time::interval(INTERVAL);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            _ = &mut interrupted => break,
            _ = ticks.tick() => {}
        }
        for mail in stage.mail.mails().into_iter().skip(mails) {
            mails += 1;
            narrator.say(&format!("\nmail to {}:", mail.to.join(", ")));
            narrator.show(mail.message().text());
        }
        for sms in stage.sms.accepted().into_iter().skip(texts) {
            texts += 1;
            narrator.say(&format!("\nSMS to +{}:", sms.to));
            narrator.show(&sms.text);
        }
        for push in gateway.apple.requests().into_iter().skip(pushes) {
            pushes += 1;
            narrator.say(&format!("\nAPNs received, for {}:", push.device()));
            narrator.show(&format!("{:#}", push.json()));
        }
        for message in gateway.google.messages().into_iter().skip(messages) {
            messages += 1;
            narrator.say("\nFCM received:");
            narrator.show(&format!("{:#}", message.json()));
        }
        for (seen, lines) in logs.iter_mut().zip([stage.server.logs(), gateway.server.logs()]) {
            narrator.show(&lines[*seen..]);
            *seen = lines.len();
        }
    }
    narrator.say("\nEverything has ended.");
}

fn guide(stage: &Stage, Account { user, access_token, .. }: &Account) -> String {
    let (url, admin) = (stage.server.url(), stage.server.admin_url());
    let (folder, homeserver) = (stage.server.folder().display(), stage.homeserver.name());
    let new_user = stage.homeserver.open_id_token(&format!("@carol:{homeserver}"));
    format!(
        r#"
Everything runs until Ctrl-C:

identity server   {url}
metrics, health   {admin}/metrics, {admin}/health
its folder        {folder} (settings, database, signing key)
homeserver        {homeserver}, a fake; the OpenID token below is one of @carol:{homeserver}
mail, SMS         request one (below); every mail, SMS, notification and log line appears here

Try, in another terminal:

ID={url}/_matrix/identity/v2
TOKEN={access_token}   # of {user}
curl -s $ID/account -H "Authorization: Bearer $TOKEN"
curl -s $ID/hash_details -H "Authorization: Bearer $TOKEN"
curl -s $ID/validate/email/requestToken -H "Authorization: Bearer $TOKEN" \
  -d client_secret=monkeys -d email=you@example.org -d send_attempt=1
curl -s $ID/validate/msisdn/requestToken -H "Authorization: Bearer $TOKEN" \
  -d client_secret=monkeys -d phone_number=07700900002 -d country=GB -d send_attempt=1
  # open the link of the mail in a browser, or post the code of the SMS to $ID/validate/msisdn/submitToken
  # (-d client_secret=monkeys -d sid=SID -d token=CODE); then, with the sid of the response:
curl -s $ID/3pid/bind -H "Authorization: Bearer $TOKEN" \
  -d client_secret=monkeys -d sid=SID -d mxid={user}
  # register another user:
curl -s $ID/account/register \
  -d '{new_user}'
"#
    )
}

fn guide_to_pushes(gateway: &World) -> String {
    let (url, admin, folder) = (gateway.server.url(), gateway.server.admin_url(), gateway.server.folder().display());
    let iphone = "5f".repeat(32);
    format!(
        r#"push gateway      {url}
metrics, health   {admin}/metrics, {admin}/health
its folder        {folder} (settings, keys)

curl -s {url}{NOTIFY} -d '{{"notification": {{
  "event_id": "$1", "room_id": "!r:hs.example", "type": "m.room.message", "sender": "@bob:hs.example",
  "content": {{"msgtype": "m.text", "body": "hello"}}, "counts": {{"unread": 1}},
  "devices": [{{"app_id": "{IOS}", "pushkey": "{iphone}"}},
    {{"app_id": "{ANDROID}", "pushkey": "any"}}]}}}}'
"#
    )
}
