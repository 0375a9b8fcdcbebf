"""Decrypts Web Push messages with http_ece, and verifies their VAPID tokens with py_vapid.

Reads one JSON object for each line, {"private", "auth", "body", "authorization"}, the first three in base64url; writes one
for each, {"plain", "claims"}. Any other input ends the program with an error.
"""

import base64
import json
import sys

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified_claims(authorization):
    # py_vapid does not accept the space that RFC 8292 has after the comma.
    if not Vapid02.verify(authorization.replace(", ", ",")):
        raise ValueError("the signature of the VAPID token is wrong")
    token = authorization.split("t=", 1)[1].split(",", 1)[0]
    return json.loads(decode(token.split(".")[1]))


for line in sys.stdin:
    message = json.loads(line)
    key = ec.derive_private_key(int.from_bytes(decode(message["private"]), "big"), ec.SECP256R1())
    plain = http_ece.decrypt(
        decode(message["body"]), private_key=key, auth_secret=decode(message["auth"]), version="aes128gcm"
    )
    print(json.dumps({"plain": plain.decode(), "claims": verified_claims(message["authorization"])}))
