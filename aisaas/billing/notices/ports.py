"""What notices need from outside: a mail server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one address, the same words as text and as HTML.

    `message_id` is the same for every try, angle brackets included, so that a mail server or a mail
    program can see a repeat.
    """

    to: str
    subject: str
    text: str
    html: str
    message_id: str


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Returns when the mail server has taken it on.

        Raises:
            MailError: it isn't known to have been taken on, and may be tried again.
            MailRefused: the server said no for good.
        """
        ...
