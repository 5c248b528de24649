"""The mailbox: mail is stored in a table instead of being sent, and a page shows it.

This server's own mails are kept here directly, the product's come in by SMTP (`smtp.py`).
"""

import re
from dataclasses import dataclass
from datetime import UTC
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus, urlencode, urlsplit

from starlette.responses import HTMLResponse, JSONResponse, Response

from devstack.auth import users
from devstack.auth.call import Call
from devstack.auth.config import PLACEHOLDER, Config
from devstack.auth.database import Connection, Row
from devstack.auth.one_time import Issued
from devstack.auth.pages import page
from devstack.auth.services import Services

SHOWN = 200


@dataclass(frozen=True, slots=True)
class Template:
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An email from outside this server; `text` or `html` may be empty, not both."""

    sender: str
    subject: str
    text: str
    html: str
    message_id: str


TEMPLATES = {
    "signup": Template(
        "Confirm your email address", "Open this link to confirm your email address."
    ),
    "invite": Template("You're invited", "Open this link to accept the invitation."),
    "magiclink": Template("Your sign-in link", "Open this link to sign in."),
    "recovery": Template("Reset your password", "Open this link to choose a new password."),
    "email_change": Template(
        "Confirm your new email address", "Open this link to use this address for your account."
    ),
    "email_change_current": Template(
        "Confirm your change of email address",
        "Open this link to allow your account to use a different email address.",
    ),
    "reauthentication": Template("Confirm that it's you", "Enter this code to set a new password."),
}
IGNORE = "If you didn't ask for this, ignore this email."
# The kind of a mail received by SMTP.
RECEIVED = "received"
RAW = ("confirmation_url", "site_url")
# A web address in a text, without the punctuation that ends a sentence.
ADDRESS = re.compile(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:!?])")
LONE_PLACEHOLDER = re.compile(r"[^=]*=\{(\w+)\}")


def verify_link(config: Config, kind: str, issued: Issued, redirect_to: str | None) -> str:
    """This server's own link, which verifies and leads on: Supabase's ConfirmationURL."""
    target = redirect_to or config.site_url
    query = urlencode({"token": issued.token_hash, "type": kind, "redirect_to": target})
    return f"{config.issuer}/verify?{query}"


def mail_link(config: Config, kind: str, issued: Issued, redirect_to: str | None) -> str:
    """The link of a mail, by the template. A parameter that would be empty is left out."""
    parts = urlsplit(redirect_to or "")
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    values = {
        "confirmation_url": verify_link(config, kind, issued, redirect_to),
        "site_url": config.site_url,
        "token": issued.code,
        "token_hash": issued.token_hash,
        "type": kind,
        "redirect_to": redirect_to or config.site_url,
        "redirect_path": path,
    }
    base, _, query = config.mail_link.partition("?")
    kept = [part for part in query.split("&") if not _is_empty(part, values)]
    return _filled("?".join(filter(None, (base, "&".join(kept)))), values)


def _is_empty(parameter: str, values: dict[str, str]) -> bool:
    lone = LONE_PLACEHOLDER.fullmatch(parameter)
    return lone is not None and not values[lone[1]]


def _filled(template: str, values: dict[str, str]) -> str:
    return PLACEHOLDER.sub(
        lambda found: values[found[1]] if found[1] in RAW else quote_plus(values[found[1]], "/"),
        template,
    )


async def send(
    connection: Connection,
    config: Config,
    *,
    to: str,
    kind: str,
    issued: Issued,
    redirect_to: str | None,
    template: str | None = None,
) -> None:
    """`redirect_to` is where the asker wants to be led, where that is allowed."""
    words = TEMPLATES[template or kind]
    link = mail_link(config, kind, issued, redirect_to)
    body = f"{words.text}\n\n{link}\n\nOr enter this code: {issued.code}\n\n{IGNORE}"
    await connection.execute(
        """
        insert into auth.mailbox (recipient, kind, subject, body, code, token_hash, link)
        values (%s, %s, %s, %s, %s, %s, %s)
        """,
        [to, kind, words.subject, body, issued.code, issued.token_hash, link],
    )


async def send_code(connection: Connection, *, to: str, kind: str, code: str) -> None:
    """A code alone: for the site where the reader is signed in already."""
    words = TEMPLATES[kind]
    body = f"{words.text}\n\n{code}\n\n{IGNORE}"
    await connection.execute(
        """
        insert into auth.mailbox (recipient, kind, subject, body, code, token_hash, link)
        values (%s, %s, %s, %s, %s, '', '')
        """,
        [to, kind, words.subject, body, code],
    )


async def keep(connection: Connection, to: str, mail: Received) -> None:
    """Put an outside email into the mailbox: it has none of our links or codes."""
    await connection.execute(
        """
        insert into auth.mailbox
          (recipient, kind, subject, body, code, token_hash, link, sender, html, message_id)
        values (%s, %s, %s, %s, '', '', '', %s, %s, %s)
        """,
        [to, RECEIVED, mail.subject, mail.text, mail.sender, mail.html, mail.message_id],
    )


async def as_json(services: Services, call: Call) -> Response:
    """Newest first; `?to=` narrows it to one address."""
    rows = await _newest(services, call.query("to").lower())
    return JSONResponse({"messages": [_message(row) for row in rows]})


async def as_page(services: Services, call: Call) -> Response:
    recipient = call.query("to").strip().lower()
    rows = await _newest(services, recipient)
    narrow = (
        '<form class="row search" action="/mailbox"><label>To'
        f'<input name="to" type="email" value="{escape(recipient)}" autocomplete="off"></label>'
        "<button>Show</button></form>"
    )
    everything = '<p><a href="/mailbox">All mail</a></p>' if recipient else ""
    intro = '<p class="quiet">No email leaves this machine. Newest first.</p>'
    cards = "".join(_card(row) for row in rows) or "<p>No mail yet.</p>"
    return page("Mailbox", intro + narrow + everything + cards, form_action="'self'")


def _card(row: Row) -> str:
    return (
        f'<article class="card"><h2><a href="/mailbox/{row["id"]}">{escape(row["subject"])}</a></h2>'
        f"{_to_and_when(row)}{_link_and_code(row)}</article>"
    )


def _to_and_when(row: Row) -> str:
    address = row["recipient"]
    at = row["created_at"].astimezone(UTC)
    return (
        f'<p class="quiet">to <a href="/mailbox?to={escape(quote(address))}">{escape(address)}</a>, '
        f'<time datetime="{users.instant(at)}">{at:%Y-%m-%d %H:%M:%S} UTC</time></p>'
    )


def _link_and_code(row: Row) -> str:
    link, code = escape(row["link"]), escape(row["code"])
    shown_link = f'<p><a href="{link}" rel="noreferrer">{link}</a></p>' if link else ""
    return shown_link + (f"<p>Code: <code>{code}</code></p>" if code else "")


BACK = '<p><a href="/mailbox">All mail</a></p>'


async def one_as_page(services: Services, call: Call) -> Response:
    row = await _one(services, call)
    if row is None:
        return _not_found()
    other = f'<p><a href="/mailbox/{row["id"]}/html">Show as HTML</a></p>' if row["html"] else ""
    text = f'<article class="card"><pre>{_with_links(row["body"])}</pre></article>'
    return page(row["subject"], f"{_to_and_when(row)}{text}{other}{BACK}")


async def one_as_html(services: Services, call: Call) -> Response:
    """The HTML part as it came: shown, but allowed nothing."""
    row = await _one(services, call)
    if row is None or not row["html"]:
        return _not_found()
    return HTMLResponse(
        row["html"],
        headers={
            "content-security-policy": (
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
                "sandbox allow-popups allow-popups-to-escape-sandbox"
            ),
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )


def _not_found() -> Response:
    return page("Not found", f"<p>That email doesn't exist.</p>{BACK}", status=404)


async def _one(services: Services, call: Call) -> Row | None:
    async with services.database.transaction() as connection:
        cursor = await connection.execute(
            "select * from auth.mailbox where id = %s", [call.request.path_params["id"]]
        )
        return await cursor.fetchone()


def _with_links(text: str) -> str:
    """Text as HTML, with its web addresses to follow."""
    parts = [escape(part) for part in ADDRESS.split(text)]
    # Every second one is what the pattern found.
    parts[1::2] = [f'<a href="{link}" rel="noreferrer">{link}</a>' for link in parts[1::2]]
    return "".join(parts)


async def _newest(services: Services, recipient: str) -> list[Row]:
    async with services.database.transaction() as connection:
        cursor = await connection.execute(
            "select * from auth.mailbox where %(to)s = '' or recipient = %(to)s"
            " order by id desc limit %(limit)s",
            {"to": recipient, "limit": SHOWN},
        )
        return await cursor.fetchall()


def _message(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "to": row["recipient"],
        "type": row["kind"],
        "subject": row["subject"],
        "body": row["body"],
        "code": row["code"],
        "token_hash": row["token_hash"],
        "link": row["link"],
        "from": row["sender"],
        "html": row["html"],
        "message_id": row["message_id"],
        "created_at": users.instant(row["created_at"]),
    }
