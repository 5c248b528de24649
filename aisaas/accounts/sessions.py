"""Sessions: an opaque id in the browser, tokens on the server.

The cookie's value is 256 random bits; the database knows only its hash. The auth server's tokens
are encrypted with a key derived from SESSION_SECRET, so a leaked backup can't be used to sign in.
Tokens sealed with SESSION_SECRET_PREVIOUS can be opened too; each renewal, hourly for active users,
seals them with the current key.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from http.cookies import CookieError, SimpleCookie

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SESSION_LIFETIME_SECONDS = 30 * 24 * 3600
TOKEN_BYTES = 32
MAX_COOKIE_HEADER = 16_384


def cookie_name(*, app_env: str, secure: bool) -> str:
    """The cookie's name includes its environment, so another environment's cookie isn't found.

    `__Host-` makes browsers insist on Secure, Path=/ and no Domain; it needs https.
    """
    return f"{'__Host-' if secure else ''}aisaas_{app_env}_session"


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    # The token is random, so a plain fast hash is safe.
    return hashlib.sha256(token.encode()).digest()


def token_from(cookie_header: str | None, name: str) -> str | None:
    """The value of one cookie in a raw `Cookie:` header, or None; also None if it is malformed."""
    if not cookie_header or len(cookie_header) > MAX_COOKIE_HEADER:
        return None
    for part in cookie_header.split(";"):
        # One cookie at a time: a malformed neighbour must not hide ours.
        if part.strip().partition("=")[0] != name:
            continue
        try:
            morsel = SimpleCookie(part.strip()).get(name)
        except CookieError:
            return None
        return morsel.value if morsel else None
    return None


class Sealer:
    """Encrypts with a key that is derived from SESSION_SECRET for one purpose only.

    Args:
        session_secret: what seals.
        others: what opens as well.
    """

    def __init__(self, session_secret: str, *others: str, purpose: str) -> None:
        self._fernet = MultiFernet([_key(secret, purpose) for secret in (session_secret, *others)])

    def seal(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str | None:
        """The text, or None when it was sealed with a secret unknown here or for another purpose."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            return None


def _key(secret: str, purpose: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode())
    return Fernet(base64.urlsafe_b64encode(key.derive(secret.encode())))


class TokenCipher(Sealer):
    """Encrypts auth tokens at rest."""

    def __init__(self, session_secret: str, *others: str) -> None:
        super().__init__(session_secret, *others, purpose="aisaas session tokens")
