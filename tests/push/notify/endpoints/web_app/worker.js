// What a Matrix web app does with a push: it shows the event, or the number of unread messages.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => {
  const push = event.data.json();
  const title = push.event_id ? `${push.sender_display_name} (${push.room_name})` : `${push.unread} unread`;
  const options = { body: push.content?.body ?? "", tag: push.room_id, data: push };
  event.waitUntil(self.registration.showNotification(title, options));
});
