"""Mails by SMTP: to the embedded mailbox, and to servers that ask for a password, TLS or patience."""

from __future__ import annotations

import socket
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from aisaas.adapters import smtp_mail
from aisaas.adapters.smtp_mail import SmtpMail
from aisaas.billing.notices.ports import Mail
from aisaas.errors import MailError, MailRefused
from childprocess.ports import HOST, free_port
from devstack.stack import Stack
from tests.mail_server import MailServer, certificate
from tests.parts import Mailbox

SENDER = "Chät & Co <mail@example.com>"
REMOTE = "mail.example.com"


def mail_to(address: str) -> Mail:
    return Mail(
        to=address,
        subject="Your Pro plan — used up",
        text="Ünder 80 %.\n\nhttp://127.0.0.1/billing",
        html=f"<p>Ünder 80 %.</p><!-- {'x' * 2000} -->",
        message_id=f"<{uuid4()}@chat.example.com>",
    )


@pytest.fixture
def mailbox(spare_stack: Stack) -> Generator[Mailbox]:
    box = Mailbox(spare_stack)
    yield box
    box.close()


@pytest.fixture
def server() -> Generator[MailServer]:
    with MailServer() as running:
        yield running


async def test_mail_arrives_whole(spare_stack: Stack, mailbox: Mailbox) -> None:
    mail = mail_to(f"{uuid4().hex}@example.com")
    await SmtpMail(spare_stack.env["SMTP_URL"], spare_stack.env["MAIL_FROM"]).send(mail)
    (kept,) = mailbox.to(mail.to)
    assert kept["from"] == spare_stack.env["MAIL_FROM"]
    assert (kept["subject"], kept["body"]) == (mail.subject, mail.text)
    assert (kept["html"], kept["message_id"]) == (mail.html, mail.message_id)


async def test_headers_say_who_it_is_from_and_that_nobody_typed_it(server: MailServer) -> None:
    mail = mail_to("ada@example.com")
    await SmtpMail(server.url, SENDER).send(mail)
    (taken,) = server.taken
    assert (taken["From"], taken["To"]) == (SENDER, "ada@example.com")
    assert (taken["Message-ID"], taken["Auto-Submitted"]) == (mail.message_id, "auto-generated")
    assert taken["Date"].datetime.tzinfo is not None


@pytest.mark.parametrize("answer", ["451 4.7.1 Later", "421 4.3.2 Closing"])
async def test_mail_that_is_put_off_may_be_tried_again(server: MailServer, answer: str) -> None:
    server.answers = [answer]
    sender = SmtpMail(server.url, SENDER)
    with pytest.raises(MailError) as put_off:
        await sender.send(mail_to("ada@example.com"))
    assert put_off.value.refused
    await sender.send(mail_to("ada@example.com"))
    assert len(server.taken) == 1


async def test_recipient_that_is_put_off_may_be_tried_again(server: MailServer) -> None:
    server.recipients["ada@example.com"] = "450 4.2.1 Greylisted"
    with pytest.raises(MailError) as put_off:
        await SmtpMail(server.url, SENDER).send(mail_to("ada@example.com"))
    assert put_off.value.refused


async def test_refused_for_good_is_not_tried_again(server: MailServer, spare_stack: Stack) -> None:
    server.answers = ["554 5.7.1 Spam"]
    with pytest.raises(MailRefused):
        await SmtpMail(server.url, SENDER).send(mail_to("ada@example.com"))
    with pytest.raises(MailRefused):
        await SmtpMail(spare_stack.env["SMTP_URL"], SENDER).send(mail_to("ada@mail.invalid"))


@pytest.mark.parametrize(
    "address",
    [
        "ada",
        "ada@",
        "ada@example.com, eve@example.com",
        "ada@example.com\r\nBcc: eve@example.com",
        "<ada@example.com>",
        "",
    ],
)
async def test_nothing_but_one_address_is_written_to(server: MailServer, address: str) -> None:
    with pytest.raises(MailRefused):
        await SmtpMail(server.url, SENDER).send(mail_to(address))
    assert server.taken == []


async def test_subject_cannot_smuggle_a_header(server: MailServer) -> None:
    mail = replace(mail_to("ada@example.com"), subject="Hello\r\nBcc: eve@example.com")
    with pytest.raises(MailRefused):
        await SmtpMail(server.url, SENDER).send(mail)
    assert server.taken == []


async def test_server_that_is_away_or_silent_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp_mail, "STEP_SECONDS", 0.2)
    with pytest.raises(MailError) as away:
        await SmtpMail(f"smtp://{HOST}:{free_port()}", SENDER).send(mail_to("ada@example.com"))
    with socket.create_server((HOST, 0)) as silent:
        url = f"smtp://{HOST}:{silent.getsockname()[1]}"
        with pytest.raises(MailError) as hangs:
            await SmtpMail(url, SENDER).send(mail_to("ada@example.com"))
    assert not away.value.refused
    assert not hangs.value.refused


async def test_password_of_the_address_is_used_and_a_wrong_one_is_the_operators_to_mend() -> None:
    with MailServer(login=("ada@example.com", "p:ss/w@rd")) as server:
        right = f"smtp://ada%40example.com:p%3Ass%2Fw%40rd@{HOST}:{server.port}"
        await SmtpMail(right, SENDER).send(mail_to("ada@example.com"))
        for wrong in ("secret", "s%C3%A9cret"):
            url = f"smtp://ada%40example.com:{wrong}@{HOST}:{server.port}"
            with pytest.raises(MailError) as refused:
                await SmtpMail(url, SENDER).send(mail_to("ada@example.com"))
            assert "cret" not in str(refused.value)
            assert not refused.value.refused
    assert len(server.taken) == 1


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that isn't this machine's leads to it."""
    resolve = socket.getaddrinfo

    def resolved(host: str, *args: object, **more: object) -> object:
        return resolve(HOST if host == REMOTE else host, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.mark.usefixtures("remote")
async def test_nothing_is_said_in_the_clear_beyond_this_machine() -> None:
    with MailServer(login=("ada", "secret")) as server, pytest.raises(MailError):
        await SmtpMail(f"smtp://ada:secret@{REMOTE}:{server.port}", SENDER).send(
            mail_to("ada@example.com")
        )
    assert server.taken == []


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_mail_travels_by_tls_to_whom_the_certificate_names(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, REMOTE)
    asked_for = MailServer(tls=context) if scheme == "smtps" else MailServer(start_tls=context)
    with asked_for as server:
        sender = SmtpMail(f"{scheme}://{REMOTE}:{server.port}", SENDER)
        with pytest.raises(MailError):
            await sender.send(mail_to("ada@example.com"))
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        await sender.send(mail_to("ada@example.com"))
    assert len(server.taken) == 1


async def test_certificate_for_another_name_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(tmp_path, REMOTE)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with MailServer(tls=context) as server, pytest.raises(MailError):
        await SmtpMail(f"smtps://{HOST}:{server.port}", SENDER).send(mail_to("ada@example.com"))
    assert server.taken == []
