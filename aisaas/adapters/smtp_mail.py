"""Mails by SMTP, with the standard library in a thread.

Invariant: a mail not known to be accepted counts as not sent, so it may arrive twice; both have the
same Message-ID. Passwords and addresses are sent over TLS, except on this machine itself.

Outage: each step has STEP_SECONDS for a response, a mail MAIL_SECONDS in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from ipaddress import ip_address
from typing import Self
from urllib.parse import unquote, urlsplit

from aisaas.billing.notices.ports import Mail
from aisaas.errors import MailError, MailRefused

STEP_SECONDS = 10.0
MAIL_SECONDS = 60.0
PORTS = {"smtp": 587, "smtps": 465}
# A mail server's reply codes from here on are permanent refusals.
FOR_GOOD = 500


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The server that accepts mail; `user` and `password` are both set or neither."""

    host: str
    port: int
    # From the first byte; otherwise by STARTTLS, which is required except on this machine.
    tls: bool
    user: str | None
    password: str | None

    @classmethod
    def at(cls, url: str) -> Self:
        """Parse `smtp://user:password@host:port`, as validated by `Settings`."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or PORTS[parts.scheme],
            tls=parts.scheme == "smtps",
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    @property
    def here(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class SmtpMail:
    """Sends mails through one server, each over its own connection: they are few."""

    def __init__(self, url: str, sender: str) -> None:
        self._server = SmtpServer.at(url)
        self._name, self._address = parseaddr(sender)

    async def send(self, mail: Mail) -> None:
        """See `billing.notices.ports.Mailer`."""
        message = self._message(mail)
        try:
            async with asyncio.timeout(MAIL_SECONDS):
                await asyncio.to_thread(self._hand_in, message, mail.to)
        except TimeoutError as error:
            raise MailError("no answer in time") from error

    def reach(self) -> None:
        """Connect as for a mail, without sending one. Blocks; for an operator's check.

        Raises:
            MailError: the server is down, or rejects our sign-in.
        """
        _goodbye(self._connected())

    def _message(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        try:
            message["From"] = Address(self._name, addr_spec=self._address)
            message["To"] = Address(addr_spec=mail.to)
            message["Subject"] = mail.subject
            message["Message-ID"] = mail.message_id
        except (ValueError, IndexError, MessageError) as error:
            # An address or a subject that can't be a header, so retrying won't help. (The address
            # parser raises IndexError for some.)
            raise MailRefused("unwritable header") from error
        message["Date"] = datetime.now(UTC)
        # Suppress vacation replies.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        return message

    def _hand_in(self, message: EmailMessage, to: str) -> None:
        connection = self._connected()
        try:
            connection.send_message(message, self._address, [to])
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = error.recipients[to]
            raise _no(code) from error
        except smtplib.SMTPDataError as error:
            raise _no(error.smtp_code) from error
        except smtplib.SMTPNotSupportedError as error:
            # This server doesn't support the address's characters.
            raise MailRefused("address not supported") from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailError(_reason(error)) from error
        else:
            _goodbye(connection)
        finally:
            connection.close()

    def _connected(self) -> smtplib.SMTP:
        """A connection that is ready for mail; on failure it is closed."""
        try:
            connection = self._called()
            try:
                self._let_in(connection)
            except BaseException:
                connection.close()
                raise
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            # UnicodeError: a password or a host name that the protocol can't carry.
            raise MailError(_reason(error)) from error
        return connection

    def _called(self) -> smtplib.SMTP:
        server = self._server
        if server.tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(server.host, server.port, timeout=STEP_SECONDS, context=context)
        return smtplib.SMTP(server.host, server.port, timeout=STEP_SECONDS)

    def _let_in(self, connection: smtplib.SMTP) -> None:
        server = self._server
        if not server.tls and not server.here:
            connection.starttls(context=ssl.create_default_context())
        if server.user is not None and server.password is not None:
            connection.login(server.user, server.password)


def _goodbye(connection: smtplib.SMTP) -> None:
    # The mail is accepted; a failed QUIT changes nothing.
    with contextlib.suppress(smtplib.SMTPException, OSError):
        connection.quit()
    connection.close()


def _no(code: int) -> MailError | MailRefused:
    if code >= FOR_GOOD:
        return MailRefused(f"refused with {code}")
    return MailError(f"put off with {code}", refused=True)


def _reason(error: Exception) -> str:
    """What went wrong, without the server's own words: they may quote an address."""
    code = getattr(error, "smtp_code", None)
    return f"{type(error).__name__} {code}" if code is not None else type(error).__name__
