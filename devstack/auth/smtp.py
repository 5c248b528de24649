"""The mailbox's SMTP server: it receives the product's emails and keeps them in the mailbox.

Invariant: an email answered with 250 is in the database, once for each recipient; any other was
refused with a code that says whether a retry helps. As on the internet, no mailbox exists below
`.invalid`: such a recipient is refused permanently, which is how to test a bounce.

Outage: without the database an email is deferred with 451.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

import psycopg
from aiosmtpd.smtp import SMTP, Envelope, Session

from devstack.auth import mail
from devstack.auth.database import Database
from devstack.auth.errors import AuthError
from devstack.serving import LOOPBACK, CannotStartError, log

MAX_BYTES = 1_000_000
MAX_RECIPIENTS = 20
MAX_ADDRESS = 254
IDLE_SECONDS = 30
NOWHERE = ".invalid"


@asynccontextmanager
async def listening(database: Database, port: int) -> AsyncGenerator[None]:
    """Mails are taken inside the block.

    Raises `CannotStartError` when something already listens on the port.
    """
    # Its log has addresses; what happens to a mail is in ours.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    handler = _Handler(database)
    loop = asyncio.get_running_loop()

    def connected() -> SMTP:
        return SMTP(
            handler,
            data_size_limit=MAX_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="embedded mailbox",
            timeout=IDLE_SECONDS,
            loop=loop,
        )

    try:
        server = await loop.create_server(connected, LOOPBACK, port)
    except OSError as error:
        raise CannotStartError(f"Port {port} is already in use.") from error
    log("listening", server="smtp", port=port)
    try:
        yield
    finally:
        server.close()


class _Handler:
    """What the protocol asks: its method names are the library's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        name, _, domain = address.rpartition("@")
        if not name or not domain or len(address) > MAX_ADDRESS or not address.isprintable():
            return "553 5.1.3 That is no address"
        if domain.lower().endswith(NOWHERE):
            return "550 5.1.2 Nobody reads mail there"
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        if address not in envelope.rcpt_tos:
            envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.original_content or b""
        read = _read(content, sender=envelope.mail_from or "")
        if read is None:
            return "554 5.6.0 A mail has a subject and a text"
        try:
            async with self._database.transaction() as connection:
                for recipient in envelope.rcpt_tos:
                    await mail.keep(connection, recipient.lower(), read)
        except (AuthError, psycopg.OperationalError):
            log("mail put off", failed=True)
            return "451 4.3.0 The mailbox can't be reached"
        log("mail kept", recipients=len(envelope.rcpt_tos), bytes=len(content))
        return "250 2.0.0 Kept in the mailbox"

    async def handle_exception(self, _error: Exception) -> str:
        log("unexpected error", failed=True, server="smtp")
        return "451 4.3.0 Unexpected failure"


def _read(content: bytes, *, sender: str) -> mail.Received | None:
    """None if this isn't a readable email."""
    try:
        message = message_from_bytes(content, policy=policy.default)
        text, html = (_part(message, kind) for kind in ("plain", "html"))
        subject = str(message["subject"] or "").strip()
        message_id = str(message["message-id"] or "").strip()
    except (LookupError, ValueError):
        # An unknown charset, or a header that can't be parsed.
        return None
    if not subject or not (text or html) or "\0" in f"{subject}{text}{html}{message_id}":
        return None
    return mail.Received(
        sender=sender, subject=subject, text=text, html=html, message_id=message_id
    )


def _part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    content = str(body.get_content()) if body is not None else ""
    return content.replace("\r\n", "\n").strip()
