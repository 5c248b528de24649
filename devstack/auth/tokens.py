"""Access tokens, refresh tokens, one-time codes: made, read and hashed here and nowhere else.

Refresh tokens form a chain: each follows from its predecessor and a secret of the server. So the
table needs only their hashes, and a client whose answer got lost can still be given, from the token
it holds, the one that took its place.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, cast

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from devstack.auth.database import Connection
from devstack.auth.errors import bad_jwt

ALGORITHM = "ES256"
AUDIENCE = "authenticated"
# No access token passes for a state, nor the other way round.
STATE_AUDIENCE = "oauth-state"
KEY_LOCK = 7_411_906_325_118_403
TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private_key: ec.EllipticCurvePrivateKey

    def public_jwk(self) -> dict[str, Any]:
        jwk = json.loads(ECAlgorithm.to_jwk(self.private_key.public_key()))
        return {
            **cast("dict[str, Any]", jwk),
            "alg": ALGORITHM,
            "ext": True,
            "key_ops": ["verify"],
            "kid": self.kid,
            "use": "sig",
        }


class Keyring:
    """The newest key signs, all of them verify, the oldest one's secret links refresh tokens."""

    def __init__(self, keys: list[SigningKey], chain_secret: bytes, issuer: str) -> None:
        self._keys = {key.kid: key for key in keys}
        self._signer = keys[-1]
        self._chain_secret = chain_secret
        self._issuer = issuer

    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.public_jwk() for key in self._keys.values()]}

    def sign(self, claims: dict[str, Any], *, ttl: int) -> tuple[str, int]:
        """Returns the token and the Unix second at which it ends."""
        now = int(time.time())
        token = jwt.encode(
            {"iss": self._issuer, "aud": AUDIENCE, "iat": now, "exp": now + ttl, **claims},
            self._signer.private_key,
            algorithm=ALGORITHM,
            headers={"kid": self._signer.kid},
        )
        return token, now + ttl

    def read(self, token: str) -> dict[str, Any]:
        """The claims of a valid access token of this server. Raises `AuthError` 403 bad_jwt."""
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                raise bad_jwt("unrecognized JWT kid")
            return jwt.decode(
                token,
                key.private_key.public_key(),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "sub", "session_id"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise bad_jwt("token is expired") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise bad_jwt("token is malformed") from error

    def sign_state(self, claims: dict[str, Any], *, ttl: int) -> str:
        """What a browser carries to a provider and back, unchanged."""
        return jwt.encode(
            {"aud": STATE_AUDIENCE, "exp": int(time.time()) + ttl, **claims},
            self._signer.private_key,
            algorithm=ALGORITHM,
            headers={"kid": self._signer.kid},
        )

    def read_state(self, state: str) -> dict[str, Any] | None:
        """None for a state that another server made, that was changed, or that is too old."""
        try:
            key = self._keys[jwt.get_unverified_header(state).get("kid", "")]
            return jwt.decode(
                state,
                key.private_key.public_key(),
                algorithms=[ALGORITHM],
                audience=STATE_AUDIENCE,
                options={"require": ["exp"]},
            )
        except (jwt.PyJWTError, KeyError, ValueError, TypeError):
            return None

    def successor(self, refresh_token: str) -> str:
        digest = hmac.digest(self._chain_secret, refresh_token.encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:TOKEN_BYTES]).decode()


async def load_keyring(connection: Connection, issuer: str) -> Keyring:
    """Reads the keys, making the first one if there is none: restarts keep sessions valid."""
    await connection.execute("select pg_advisory_xact_lock(%s)", [KEY_LOCK])
    cursor = await connection.execute(
        "select kid, private_key, chain_secret from auth.embedded_signing_keys order by created_at"
    )
    rows = await cursor.fetchall()
    if not rows:
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        cursor = await connection.execute(
            "insert into auth.embedded_signing_keys (kid, private_key, chain_secret)"
            " values (gen_random_uuid()::text, %s, %s) returning *",
            [pem.decode(), secrets.token_bytes(32)],
        )
        rows = await cursor.fetchall()
    keys = [SigningKey(row["kid"], _private_key(row["private_key"])) for row in rows]
    return Keyring(keys, bytes(rows[0]["chain_secret"]), issuer)


def _private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_code() -> str:
    """Six digits, for a person to type."""
    return f"{secrets.randbelow(1_000_000):06d}"


def digest(*parts: str) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()


def challenge_of(verifier: str, kind: str) -> str:
    """The PKCE challenge that belongs to a verifier (RFC 7636)."""
    if kind == "plain":
        return verifier
    hashed = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()


def same(left: str | bytes, right: str | bytes) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(
        left.encode() if isinstance(left, str) else left,
        right.encode() if isinstance(right, str) else right,
    )
