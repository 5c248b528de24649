"""Which new passwords are accepted: those the auth server accepts, except common and personal ones.

`ui/browser/passwords.jsx` says the same before a form is sent. Passwords that are already in use keep
working.
"""

from __future__ import annotations

import functools
import re

from aisaas.errors import AuthError
from aisaas.settings import PROJECT_ROOT

LEAST_CHARS = 8
# The auth server's bcrypt reads no further, so the auth server refuses longer ones.
MOST_BYTES = 72
# Fewer different characters than this count as a repetition.
LEAST_DIFFERENT = 3
COMMON = PROJECT_ROOT / "assets" / "common-passwords.txt"

TOO_SHORT = f"Use at least {LEAST_CHARS} characters for your password."
TOO_LONG = (
    f"Your password is too long. It can have up to {MOST_BYTES} bytes: that's {MOST_BYTES} Latin letters, "
    f"or {MOST_BYTES // 2} Cyrillic ones."
)
TOO_COMMON = "That password is too common, so it's easy to guess. Choose another one."
TOO_PERSONAL = "Don't use your name, your email address, or this site's name as your password."


def check_new_password(password: str, *, email: str, full_name: str, product: str) -> None:
    """Raises AuthError `weak_password`, `password_too_long`, `password_common` or `password_personal`."""
    if len(password) < LEAST_CHARS:
        raise AuthError("weak_password", TOO_SHORT)
    if len(password.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise AuthError("password_too_long", TOO_LONG)
    folded = password.lower()
    if folded in common_passwords() or len(set(folded)) < LEAST_DIFFERENT:
        raise AuthError("password_common", TOO_COMMON)
    local, _, domain = email.partition("@")
    own = {_core(each) for each in (email, local, domain, full_name, product) if each}
    if _core(password) in own - {""}:
        raise AuthError("password_personal", TOO_PERSONAL)


@functools.cache
def common_passwords() -> frozenset[str]:
    lines = COMMON.read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))


def _core(text: str) -> str:
    """Letters and digits in lower case, without digits at the end: what "Ada.Lovelace-1815!" is about."""
    return re.sub(r"[\W_]+", "", text.lower()).rstrip("0123456789")
