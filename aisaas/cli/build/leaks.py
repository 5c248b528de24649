"""Proves that no secret got into the files every browser downloads.

Invariant: a finding names the file and the variable or the kind of key, never the value.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

# Shorter values, such as a test password "postgres", are ordinary words of ordinary programs.
MIN_LENGTH = 8
_START = rb"(?<![A-Za-z0-9_-])"
PATTERNS: dict[str, re.Pattern[bytes]] = {
    "a model provider's key (sk-…)": re.compile(
        _START + rb"sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}"
    ),
    "a Stripe key": re.compile(_START + rb"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{8,}"),
    "a Stripe webhook secret": re.compile(_START + rb"whsec_[A-Za-z0-9+/=]{8,}"),
    "a Supabase secret key": re.compile(_START + rb"sb_secret_[A-Za-z0-9_-]{8,}"),
    "a database address with a password": re.compile(
        rb"(?:postgres(?:ql)?|rediss?|smtps?)(?:\+[a-z0-9]+)?://[^\s:/@\"'`]*:[^\s/@\"'`]+@"
    ),
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
}
_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]+\.(eyJ[A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
# The same bytes again, compressed.
_COMPRESSED = {".gz", ".br", ".zst"}


def find_leaks(folder: Path, secrets: Iterable[tuple[str, str]]) -> list[str]:
    """Search every file below `folder`; a line for each finding, with its file and its name."""
    forms: dict[str, list[bytes]] = {}
    for name, value in secrets:
        forms.setdefault(name, []).extend(_forms(value))
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in _COMPRESSED:
            continue
        content = path.read_bytes()
        where = path.relative_to(folder)
        found += [
            f"{where}: the value of {name}"
            for name, values in forms.items()
            if any(value in content for value in values)
        ]
        found += [
            f"{where}: {kind}" for kind, pattern in PATTERNS.items() if pattern.search(content)
        ]
        found += [
            f"{where}: a key of the service role"
            for match in _JWT.finditer(content)
            if _claims(match[1]).get("role") == "service_role"
        ]
    return found


def _forms(value: str) -> Generator[bytes]:
    """How a secret may be written down: itself, and of an address also its password."""
    password = urlsplit(value).password if "://" in value else None
    for text in (value, password, password and unquote(password)):
        if text and len(text) >= MIN_LENGTH:
            yield text.encode()
            yield quote(text, safe="").encode()
            yield json.dumps(text)[1:-1].encode()
            yield base64.b64encode(text.encode()).rstrip(b"=")


def _claims(segment: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)))
    except (binascii.Error, ValueError):
        # Looks like a token and is none.
        return {}
    return cast("dict[str, Any]", claims) if isinstance(claims, dict) else {}
