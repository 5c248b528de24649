"""Mails that come into the mailbox by SMTP: kept as they are, or refused with the code that fits."""

import smtplib
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import httpx
import psycopg
import pytest

from devstack.auth.smtp import MAX_BYTES, MAX_RECIPIENTS
from devstack.tests.auth_client import last_mail, new_email, serving, variables_for
from devstack.tests.conftest import SUPERUSER

SENDER = "mail@example.com"


@pytest.fixture
def smtp(server: str, server_variables: dict[str, str]) -> Iterator[smtplib.SMTP]:
    port = int(server_variables["AUTH_SMTP_PORT"])
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as connection:
        yield connection


def mail_to(
    *recipients: str, text: str = "Tea is ready: http://127.0.0.1:3000/billing."
) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = f"Ada <{SENDER}>", ", ".join(recipients)
    message["Subject"] = "Déjà vu"
    message["Message-ID"] = "<tea@example.com>"
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p><script>alert(1)</script>", subtype="html")
    return message


async def test_a_mail_is_kept_whole_for_each_recipient(server: str, smtp: smtplib.SMTP) -> None:
    first, second = new_email(), new_email()
    smtp.send_message(mail_to(first.upper(), second))
    for address in (first, second):
        mail = await last_mail(server, address)
        assert (mail["type"], mail["subject"], mail["from"]) == ("received", "Déjà vu", SENDER)
        assert mail["message_id"] == "<tea@example.com>"
        assert mail["body"] == "Tea is ready: http://127.0.0.1:3000/billing."
        assert mail["html"].startswith("<p>Tea is ready")


async def test_its_page_has_the_links_and_its_html_may_do_nothing(
    server: str, smtp: smtplib.SMTP
) -> None:
    address = new_email()
    smtp.send_message(mail_to(address))
    mail = await last_mail(server, address)
    async with httpx.AsyncClient(base_url=server) as plain:
        page = await plain.get(f"/mailbox/{mail['id']}")
        html = await plain.get(f"/mailbox/{mail['id']}/html")
        listed = (await plain.get("/mailbox", params={"to": address})).text
    # The full stop ends the sentence, not the address.
    assert '<a href="http://127.0.0.1:3000/billing" rel="noreferrer">' in page.text
    assert "Code:" not in listed
    assert html.text.strip() == mail["html"]
    policy = html.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-scripts" not in policy


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("nobody@mail.invalid", 550),
        ("nobody@", 553),
        (f"{'x' * 250}@example.com", 553),
        ("two@example.com,three@example.com nonsense", 555),
    ],
)
def test_recipient_that_cannot_be_is_refused_for_good(
    smtp: smtplib.SMTP, address: str, code: int
) -> None:
    smtp.ehlo()
    smtp.mail(SENDER)
    assert smtp.docmd(f"RCPT TO:<{address}>")[0] // 100 == 5
    if code in (550, 553):
        assert smtp.rcpt(address)[0] in (550, 553)


def test_too_many_recipients_are_put_off(smtp: smtplib.SMTP) -> None:
    smtp.ehlo()
    smtp.mail(SENDER)
    codes = [smtp.rcpt(new_email())[0] for _ in range(MAX_RECIPIENTS + 1)]
    assert codes == [250] * MAX_RECIPIENTS + [452]


async def test_a_mail_that_is_too_large_is_refused_and_not_kept(
    server: str, smtp: smtplib.SMTP
) -> None:
    address = new_email()
    large = mail_to(address, text="tea\n" * (MAX_BYTES // 4))
    with pytest.raises(smtplib.SMTPSenderRefused) as announced:
        smtp.send_message(large)
    assert announced.value.smtp_code == 552
    # One that doesn't say how large it is.
    smtp.ehlo()
    smtp.mail(SENDER)
    smtp.rcpt(address)
    assert smtp.data(large.as_bytes(policy=policy.SMTP))[0] == 552
    async with httpx.AsyncClient(base_url=server) as plain:
        assert (await plain.get("/mailbox.json", params={"to": address})).json() == {"messages": []}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Subject: nothing else\r\n\r\n",
        b"To: a@example.com\r\n\r\nno subject\r\n",
        b"Subject: x\r\n\r\na \0 in it\r\n",
        b"Subject: x\r\nContent-Type: text/plain; charset=klingon\r\n\r\nx\r\n",
        b"Subject: x\r\nContent-Type: image/png\r\n\r\nx\r\n",
        b"\xff\xfe\xfd",
    ],
)
def test_what_is_no_mail_is_refused_for_good(smtp: smtplib.SMTP, content: bytes) -> None:
    smtp.ehlo()
    smtp.mail(SENDER)
    smtp.rcpt(new_email())
    assert smtp.data(content)[0] == 554
    assert smtp.noop()[0] == 250


def test_commands_out_of_order_or_unknown_are_answered_and_the_server_goes_on(
    smtp: smtplib.SMTP,
) -> None:
    assert smtp.docmd("DATA")[0] == 503
    smtp.send(b"\xff\xfe\r\n")
    assert smtp.getreply()[0] == 500
    assert smtp.docmd("SELECT 1")[0] == 500
    assert smtp.ehlo()[0] == 250


def test_without_the_database_a_mail_is_put_off(auth_database_url: str, tmp_path: Path) -> None:
    variables = variables_for(auth_database_url)
    with (
        serving(variables, tmp_path / "log"),
        smtplib.SMTP("127.0.0.1", int(variables["AUTH_SMTP_PORT"]), timeout=60) as smtp,
    ):
        with locked_out(auth_database_url), pytest.raises(smtplib.SMTPDataError) as put_off:
            smtp.send_message(mail_to(new_email()))
        assert put_off.value.smtp_code == 451
        address = new_email()
        smtp.send_message(mail_to(address))
    log = (tmp_path / "log").read_text()
    assert '"mail kept"' in log
    assert address not in log


@contextmanager
def locked_out(auth_database_url: str) -> Generator[None]:
    """The server's own login is refused, and its connections are ended."""
    as_superuser = auth_database_url.replace("supabase_auth_admin", SUPERUSER)
    with psycopg.connect(as_superuser, autocommit=True) as connection:
        connection.execute("alter role supabase_auth_admin nologin")
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'supabase_auth_admin'"
        )
        try:
            yield
        finally:
            connection.execute("alter role supabase_auth_admin login")


def test_mail_is_for_this_machine_only(server_variables: dict[str, str], server: str) -> None:
    port = int(server_variables["AUTH_SMTP_PORT"])
    with socket.create_connection(("127.0.0.1", port)):
        pass
    with socket.socket() as elsewhere:
        elsewhere.settimeout(2)
        with pytest.raises(OSError, match=r"refused|timed out|Cannot assign"):
            elsewhere.connect(("127.0.0.2", port))
