"""Where a visitor may be sent.

Invariant: a target that came from outside is used only when it is a page of this site; anything
else becomes the default.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

# A build's placeholder for the site's own address.
BUILD_ORIGIN = "http://same-origin.invalid"

HOME = "/"
CHAT = "/chat"
DASHBOARD = "/dashboard"
LOGIN = "/login"
SIGNUP = "/signup"
SETTINGS = "/settings"
BILLING = "/billing"
ADMIN = "/admin"
ADMIN_USERS = f"{ADMIN}/users"
# Open to all: a signed-in user may follow a mail's link.
RESET = "/reset"
CONFIRM = "/confirm"
# The page that a suspended account sees instead of all others.
SUSPENDED = "/suspended"
EXPORT = "/api/account/export"
AUTH_PAGES = (LOGIN, SIGNUP)
PROTECTED = (CHAT, DASHBOARD, SETTINGS, BILLING, ADMIN, SUSPENDED)
NOT_FOUND = "/404"
# Addresses with one more part, an id, share a page: what it shows before scripts run is the same.
BY_ID = {CHAT: CHAT, ADMIN_USERS: f"{ADMIN_USERS}/_"}
API = "/api/"

MAX_PATH = 512
# A path and a query that a browser can't read as another host, without control characters.
_OWN_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x1f\x7f]*\Z")


def own_path(target: object, default: str = CHAT) -> str:
    """`target` if it is a page of this site that is worth going to, else `default`."""
    if not isinstance(target, str) or len(target) > MAX_PATH:
        return default
    if " " in target or not target.isprintable():
        return default
    # Encoded tricks count as what they decode to; twice, because a proxy may decode once.
    for reading in (target, unquote(target), unquote(unquote(target))):
        if not _OWN_PATH.match(reading) or reading.startswith(API):
            return default
    return default if is_auth_page(target) else target


def is_auth_page(path: str) -> bool:
    return path.split("?", 1)[0].split("#", 1)[0].rstrip("/") in AUTH_PAGES


def is_protected(path: str) -> bool:
    return any(path == page or path.startswith(f"{page}/") for page in PROTECTED)


def login_for(path: str) -> str:
    """The sign-in page that comes back to `path`."""
    return f"{LOGIN}?redirectTo={quote(own_path(path), safe='/')}"
