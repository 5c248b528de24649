"""Codes of an authenticator app (RFC 6238 over RFC 4226): SHA-1, 6 digits, 30 seconds, as hosted."""

import base64
import hmac
import secrets
import struct
import time
from urllib.parse import quote, urlencode

from devstack.auth.tokens import same

SECRET_BYTES = 20
STEP_SECONDS = 30
DIGITS = 6
# A clock that is off by one step, and a code typed at its very end.
NEIGHBORS = (0, -1, 1)


def new_secret() -> str:
    """In base 32, as a person would type it into the app."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def uri(secret: str, *, issuer: str, account: str) -> str:
    """What the QR code says; format: github.com/google/google-authenticator/wiki/Key-Uri-Format."""
    query = {
        "algorithm": "SHA1",
        "digits": DIGITS,
        "issuer": issuer,
        "period": STEP_SECONDS,
        "secret": secret,
    }
    return f"otpauth://totp/{quote(issuer)}:{quote(account)}?{urlencode(query, quote_via=quote)}"


def code_at(secret: str, seconds: float) -> str:
    """The code that the app shows at that Unix time."""
    counter = struct.pack(">Q", int(seconds // STEP_SECONDS))
    mac = hmac.digest(base64.b32decode(secret), counter, "sha1")
    offset = mac[-1] & 0x0F
    (number,) = struct.unpack_from(">I", mac, offset)
    return f"{(number & 0x7FFFFFFF) % 10**DIGITS:0{DIGITS}d}"


def is_right(secret: str, code: str) -> bool:
    now = time.time()
    return any(same(code_at(secret, now + step * STEP_SECONDS), code) for step in NEIGHBORS)
