// Sends Web Push messages with web-push.
//
// Reads one JSON object for each line, {"url", "p256dh", "auth", "private", "public", "audience", "content"}; writes the status
// of each response, {"status"}. web-push itself sends only over TLS, so it makes the request, and fetch sends it.

const webPush = require("web-push");

async function send(message) {
  const { pathname } = new URL(message.url);
  const subscription = {
    endpoint: message.audience + pathname,
    keys: { p256dh: message.p256dh, auth: message.auth },
  };
  const vapidDetails = { subject: "mailto:ops@hs.example", publicKey: message.public, privateKey: message.private };
  const request = webPush.generateRequestDetails(subscription, message.content, { vapidDetails });
  delete request.headers["Content-Length"];
  const response = await fetch(message.url, { method: request.method, headers: request.headers, body: request.body });
  return { status: response.status };
}

async function main() {
  let input = "";
  for await (const part of process.stdin) {
    input += part;
  }
  for (const line of input.trim().split("\n")) {
    console.log(JSON.stringify(await send(JSON.parse(line))));
  }
}

main();
