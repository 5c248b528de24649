"""Mail that never leaves: it lands in a table, and a page shows it."""

from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, JSONResponse, Response

from aisaas.embedded.auth import users
from aisaas.embedded.auth.call import Call
from aisaas.embedded.auth.config import Config
from aisaas.embedded.auth.database import Connection, Row
from aisaas.embedded.auth.one_time import Issued
from aisaas.embedded.auth.services import Services

SHOWN = 200
KEPT_DAYS = 7


@dataclass(frozen=True, slots=True)
class Template:
    subject: str
    text: str


TEMPLATES = {
    "signup": Template("Confirm your address", "Follow the link to finish signing up."),
    "invite": Template("You are invited", "Follow the link to accept the invitation."),
    "magiclink": Template("Your sign-in link", "Follow the link to sign in."),
    "recovery": Template("Reset your password", "Follow the link to choose a new password."),
    "email_change": Template("Confirm your new address", "Follow the link to use this address."),
}
CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
li { margin: 0 0 1rem; }
small { opacity: .75; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
code { font-size: 1.25rem; letter-spacing: .1em; }
"""


def verify_link(config: Config, kind: str, issued: Issued, redirect_to: str) -> str:
    query = urlencode({"token": issued.token_hash, "type": kind, "redirect_to": redirect_to})
    return f"{config.issuer}/verify?{query}"


async def send(
    connection: Connection,
    config: Config,
    *,
    to: str,
    kind: str,
    issued: Issued,
    redirect_to: str,
) -> None:
    template = TEMPLATES[kind]
    link = verify_link(config, kind, issued, redirect_to)
    body = (
        f"{template.text}\n\n{link}\n\nOr enter this code: {issued.code}\n\n"
        "If you didn't ask for this, you can ignore it."
    )
    await connection.execute(
        "delete from auth.mailbox where created_at < now() - make_interval(days => %s)",
        [KEPT_DAYS],
    )
    await connection.execute(
        """
        insert into auth.mailbox (recipient, kind, subject, body, code, token_hash, link)
        values (%s, %s, %s, %s, %s, %s, %s)
        """,
        [to, kind, template.subject, body, issued.code, issued.token_hash, link],
    )


async def as_json(services: Services, call: Call) -> Response:
    """Newest first; `?to=` narrows it to one address."""
    rows = await _newest(services, call.query("to").lower())
    return JSONResponse({"messages": [_message(row) for row in rows]})


async def as_page(services: Services, call: Call) -> Response:
    rows = await _newest(services, call.query("to").lower())
    items = "".join(
        f'<li><a href="/mailbox/{row["id"]}">{escape(row["subject"])}</a><br>'
        f"<small>to {escape(row['recipient'])}, {_time(row)}</small></li>"
        for row in rows
    )
    return _page("Mailbox", f"<ul>{items}</ul>" if rows else "<p>No mail yet.</p>")


async def one_as_page(services: Services, call: Call) -> Response:
    async with services.database.transaction() as connection:
        cursor = await connection.execute(
            "select * from auth.mailbox where id = %s", [call.request.path_params["id"]]
        )
        row = await cursor.fetchone()
    back = '<p><a href="/mailbox">All mail</a></p>'
    if row is None:
        return _page("Not found", f"<p>There is no such message.</p>{back}", status=404)
    return _page(
        row["subject"],
        f"<p><small>to {escape(row['recipient'])}, {_time(row)}</small></p>"
        f'<p><a href="{escape(row["link"])}" rel="noreferrer">{escape(row["subject"])}</a></p>'
        f"<p>Code: <code>{escape(row['code'])}</code></p>"
        f"<pre>{escape(row['body'])}</pre>{back}",
    )


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
        "created_at": users.instant(row["created_at"]),
    }


def _time(row: Row) -> str:
    return f"{row['created_at']:%Y-%m-%d %H:%M:%S}"


def _page(title: str, content: str, *, status: int = 200) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1>{content}</html>",
        status_code=status,
        headers={"content-security-policy": CSP, "referrer-policy": "no-referrer"},
    )
