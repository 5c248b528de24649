"""Every address of the front end; `api.paths` says where a visitor may be sent."""

from __future__ import annotations

import re

from aisaas.api.paths import (
    ADMIN,
    ADMIN_USERS,
    BILLING,
    CHAT,
    CONFIRM,
    DASHBOARD,
    EXPORT,
    HOME,
    LOGIN,
    NOT_FOUND,
    RESET,
    SETTINGS,
    SIGNUP,
    SUSPENDED,
    login_for,
    own_path,
)

CHAT_ROUTE = "/chat/[[thread]]"
ADMIN_USER_ROUTE = f"{ADMIN_USERS}/[account]"
ADMIN_CONTROLS = f"{ADMIN}/controls"
ADMIN_PROVIDERS = f"{ADMIN}/providers"
ADMIN_MONEY = f"{ADMIN}/money"
ADMIN_AUDIT = f"{ADMIN}/audit"

# Every page; `aisaas.aisaas` says what each of them is.
PAGES = (
    HOME,
    LOGIN,
    SIGNUP,
    RESET,
    CONFIRM,
    CHAT_ROUTE,
    DASHBOARD,
    BILLING,
    SETTINGS,
    SUSPENDED,
    ADMIN,
    ADMIN_USERS,
    ADMIN_USER_ROUTE,
    ADMIN_CONTROLS,
    ADMIN_PROVIDERS,
    ADMIN_MONEY,
    ADMIN_AUDIT,
    NOT_FOUND,
)

SIGN_OUT = "/api/session/sign-out"

__all__ = [
    "ADMIN",
    "ADMIN_AUDIT",
    "ADMIN_CONTROLS",
    "ADMIN_MONEY",
    "ADMIN_PROVIDERS",
    "ADMIN_USERS",
    "ADMIN_USER_ROUTE",
    "BILLING",
    "CHAT",
    "CHAT_ROUTE",
    "CONFIRM",
    "DASHBOARD",
    "EXPORT",
    "HOME",
    "LOGIN",
    "NOT_FOUND",
    "PAGES",
    "RESET",
    "SETTINGS",
    "SIGNUP",
    "SIGN_OUT",
    "SUSPENDED",
    "admin_user",
    "admin_user_in",
    "built_path",
    "conversation",
    "conversation_in",
    "login_for",
    "message",
    "own_path",
]


def built_path(route: str) -> str:
    """The address under which the page of `route` is built."""
    return re.sub(r"\[\w+\]", "_", re.sub(r"/\[\[\w+\]\]", "", route))


def conversation(conversation_id: object) -> str:
    return f"{CHAT}/{conversation_id}"


def conversation_in(path: str) -> str:
    """The id in a chat page's address, unchecked; empty for a new conversation."""
    return path.removeprefix(CHAT).strip("/")


def message(conversation_id: object, message_id: object) -> str:
    """Opens the conversation at one of its messages."""
    return f"{conversation(conversation_id)}?message={message_id}"


def admin_user(user_id: object) -> str:
    return f"{ADMIN_USERS}/{user_id}"


def admin_user_in(path: str) -> str:
    """The id in the address of a user's page for admins, unchecked."""
    return path.removeprefix(ADMIN_USERS).strip("/")
