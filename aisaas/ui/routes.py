"""Every address of the front end, and where a visitor may be sent.

Invariant: a redirect target that came from the address bar is used only when it is one of our own
paths; anything else becomes the default.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

HOME = "/"
LOGIN = "/login"
SIGNUP = "/signup"
CHAT = "/chat"
CHAT_ROUTE = "/chat/[[thread]]"
DASHBOARD = "/dashboard"

SIGN_IN = "/api/session/sign-in"
SIGN_UP = "/api/session/sign-up"
SIGN_OUT = "/api/session/sign-out"

PROTECTED = (CHAT, DASHBOARD)
AUTH_PAGES = (LOGIN, SIGNUP)

MAX_PATH = 512
# A path, a query, nothing that a browser could read as another host or a control character.
_OWN_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*\Z")


def conversation(conversation_id: object) -> str:
    return f"{CHAT}/{conversation_id}"


def conversation_in(path: str) -> str:
    """The id in a chat page's address, unchecked; empty for a new conversation."""
    return path.removeprefix(CHAT).strip("/")


def own_path(target: object, default: str = DASHBOARD) -> str:
    """`target` if it is a path of this site that is worth returning to, else `default`."""
    if not isinstance(target, str) or len(target) > MAX_PATH:
        return default
    # Encoded tricks count as what they decode to; twice, because a proxy may decode once.
    for reading in (target, unquote(target), unquote(unquote(target))):
        if not _OWN_PATH.match(reading):
            return default
    return default if is_auth_page(target) else target


def is_auth_page(path: str) -> bool:
    return path.split("?", 1)[0].split("#", 1)[0].rstrip("/") in AUTH_PAGES


def login_for(path: str) -> str:
    """The sign-in page that comes back to `path`."""
    return f"{LOGIN}?redirectTo={quote(own_path(path, CHAT), safe='/')}"
