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
        """Returns once the mail server has accepted it.

        Raises:
            MailError: it may not have been accepted; sending may be retried.
            MailRefused: the server rejected it for good.
        """
        ...
