"""Sends Web Push messages with pywebpush.

Reads one JSON object for each line, {"url", "p256dh", "auth", "private", "audience", "content"}; writes the status of each
response, {"status"}.
"""

import json
import sys

from pywebpush import WebPushException, webpush

for line in sys.stdin:
    message = json.loads(line)
    subscription = {"endpoint": message["url"], "keys": {"p256dh": message["p256dh"], "auth": message["auth"]}}
    claims = {"sub": "mailto:ops@hs.example", "aud": message["audience"]}
    try:
        response = webpush(
            subscription, data=message["content"], vapid_private_key=message["private"], vapid_claims=claims
        )
    except WebPushException as error:
        response = error.response
    print(json.dumps({"status": response.status_code}))
