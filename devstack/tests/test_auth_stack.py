"""What a stack tells its sign-in server, and what becomes of a folder of an earlier version."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest

from childprocess.ports import free_port
from devstack.stack import Captcha, Stack
from devstack.tests.auth_client import MODULE, PASSWORD, Connect, last_mail, new_email, refusal
from devstack.tests.conftest import ROLES, SUPERUSER
from devstack.tests.servers import clean_environment

PARTS = ("postgres", "auth")
SITE = "http://127.0.0.1:3999"


async def auth_settings(stack: Stack) -> dict[str, Any]:
    headers = {"apikey": stack.env["SUPABASE_PUBLISHABLE_KEY"]}
    async with httpx.AsyncClient(headers=headers) as http:
        return (await http.get(f"{stack.env['SUPABASE_URL']}/auth/v1/settings")).json()


async def test_mails_of_a_stack_lead_to_the_products_own_page(
    tmp_path: Path, connect: Connect
) -> None:
    elsewhere = "http://localhost:3999"
    with Stack(
        tmp_path,
        PARTS,
        site_url=SITE,
        autoconfirm=False,
        redirect_origins=[SITE, elsewhere],
        mail_interval=0,
    ) as stack:
        url = stack.env["SUPABASE_URL"]
        client, email = connect(url, stack.env["SUPABASE_PUBLISHABLE_KEY"]), new_email()
        await client.auth.sign_up({"email": email, "password": PASSWORD})
        for wanted, path in (
            ("", None),
            (f"{elsewhere}/chat/5", "/chat/5"),
            ("http://localhost.evil.example/chat", None),
        ):
            options: Any = {"email_redirect_to": wanted}
            await client.auth.resend({"type": "signup", "email": email, "options": options})
            mail = await last_mail(url, email)
            link = urlsplit(mail["link"])
            assert mail["link"].startswith(f"{SITE}/confirm?token_hash=")
            query = {name: values[0] for name, values in parse_qs(link.query).items()}
            expected = {"token_hash": mail["token_hash"], "type": "signup"}
            assert query == expected | ({"redirectTo": path} if path else {})
        async with httpx.AsyncClient() as http:
            assert email in (await http.get(stack.env["MAILBOX_URL"])).text


async def test_what_is_set_about_accounts_holds_in_the_server(
    tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What someone's shell happens to have set decides nothing.
    monkeypatch.setenv("AUTH_PROVIDERS", "github")
    monkeypatch.setenv("AUTH_MAIL_LINK", "http://127.0.0.1/elsewhere")
    nowhere = f"http://127.0.0.1:{free_port()}/siteverify"
    with Stack(
        tmp_path,
        PARTS,
        sign_up_open=False,
        oauth_providers=["google", "apple"],
        captcha=Captcha(provider="hcaptcha", secret="s", verify_url=nowhere),
    ) as stack:
        settings = await auth_settings(stack)
        enabled = {name for name, there in settings["external"].items() if there}
        assert enabled == {"email", "google", "apple"}
        assert settings["disable_signup"] is True
        assert settings["mailer_autoconfirm"] is True
        client = connect(stack.env["SUPABASE_URL"], stack.env["SUPABASE_PUBLISHABLE_KEY"])
        credentials: Any = {"email": new_email(), "password": PASSWORD}
        unsolved = client.auth.sign_in_with_password(credentials)
        assert await refusal(unsolved) == (400, "captcha_failed")


def test_folder_from_before_secure_address_changes_is_brought_up_to_date(
    auth_database_url: str,
) -> None:
    superuser = auth_database_url.replace("supabase_auth_admin", SUPERUSER)
    earlier = auth_database_url.removesuffix("/postgres") + "/earlier"

    def migrate() -> None:
        subprocess.run(
            [sys.executable, "-m", MODULE, "--migrate"],
            env=clean_environment({"AUTH_DATABASE_URL": earlier}),
            check=True,
            capture_output=True,
            timeout=60,
        )

    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("create database earlier")
    with psycopg.connect(
        earlier.replace("supabase_auth_admin", SUPERUSER), autocommit=True
    ) as connection:
        connection.execute(ROLES.read_bytes())
        migrate()
        connection.execute(
            """
            alter table auth.users drop column email_change_confirm_status,
              drop column reauthentication_sent_at;
            drop table auth.mfa_factors, auth.mfa_challenges cascade;
            alter table auth.sessions drop column factor_id, drop column factor_verified_at;
            alter table auth.one_time_tokens drop constraint one_time_tokens_purpose_check;
            alter table auth.one_time_tokens add constraint one_time_tokens_purpose_check
              check (purpose in ('confirmation', 'recovery', 'email_change'));
            insert into auth.users (email) values ('ada@example.com');
            insert into auth.one_time_tokens (user_id, purpose, link_hash, code_hash, relates_to)
              select id, purpose, purpose::bytea, 'x', 'ada@example.com'
              from auth.users, unnest(array['recovery', 'email_change']) as purpose;
            """
        )
        migrate()
        kept = connection.execute("select purpose from auth.one_time_tokens").fetchall()
        assert kept == [("recovery",)]
        status = connection.execute("select email_change_confirm_status from auth.users").fetchone()
        assert status == (0,)
