"""What a launch lacks besides servers: models with prices, sign-in, mails, pages without secrets."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import psycopg
import pytest

from aisaas.chat.catalogue import BUNDLED
from aisaas.cli.build import frontend
from aisaas.cli.checklist import product
from childprocess.ports import HOST, free_port
from devstack.stack import Stack
from tests.mail_server import MailServer, certificate
from tests.production.conftest import Configure, Found, by_item

OPENAI: dict[str, object] = {
    "embedded_parts": "",
    "demo_api_base": None,
    "openai_api_key": "sk-of-these-tests",
}
MAILER = "mail.company.dev"


# Models and the kill switch


def _services(configure: Configure, **others: object) -> Found:
    return by_item(product._services(configure(**(OPENAI | others))))


def test_models_with_prices_are_well(configure: Configure) -> None:
    found = _services(configure)
    assert [each for each in found.values() if each.state != "ok"] == []
    assert "each with a price" in found["models"].said


def test_demo_model_on_sale_is_reported(configure: Configure) -> None:
    found = by_item(product._services(configure()))["models"]
    assert (found.state, "OPENAI_API_KEY" in found.fix) == ("failed", True)


def test_model_without_a_price_is_reported(configure: Configure, tmp_path: Path) -> None:
    models = [each for each in json.loads(BUNDLED.read_text()) if each["provider"] == "openai"]
    unpriced = models[0] | {"upstream": "openai/no-such-model", "price": None, "fallback": None}
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps([unpriced]))
    found = _services(configure, model_catalogue=path)["models"]
    assert found.state == "failed"
    assert "price" in found.said
    assert "MODEL_CATALOGUE" in found.fix


def test_models_are_those_that_admins_have_left_on(
    configure: Configure, owner: psycopg.Connection
) -> None:
    free = [m["id"] for m in json.loads(BUNDLED.read_text()) if "free" in m["plans"]]
    for name in free:
        owner.execute(
            "insert into private.model_overrides (model, enabled, changed_by)"
            " values (%s, false, 'operator')",
            [name],
        )
    found = _services(configure)
    assert found["models"].state == "ok"
    assert found["default model"].state == "failed"
    assert "no model is on sale on Free" in found["default model"].said


def test_model_for_nothing_is_a_warning(configure: Configure, tmp_path: Path) -> None:
    models = [each for each in json.loads(BUNDLED.read_text()) if each["provider"] == "openai"]
    free = models[0] | {"price": {"input_usd": "0", "output_usd": "0"}, "fallback": None}
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps([free]))
    found = _services(configure, model_catalogue=path)["models"]
    assert (found.state, free["id"] in found.said) == ("warning", True)


def test_default_model_that_free_users_may_not_use_is_reported(configure: Configure) -> None:
    paid = next(m for m in json.loads(BUNDLED.read_text()) if "free" not in m["plans"])
    found = _services(configure, default_model=paid["id"], anthropic_api_key="sk-x")
    assert found["default model"].state == "failed"
    assert paid["id"] in found["default model"].said
    assert _services(configure, default_model="no-such-model")["models"].state == "failed"


@pytest.mark.parametrize(("scope", "state"), [("all", "failed"), ("plan:free", "warning")])
def test_engaged_kill_switch_is_reported_with_how_to_lift_it(
    scope: str, state: str, configure: Configure, owner: psycopg.Connection
) -> None:
    owner.execute("insert into private.kill_switches (scope, reason) values (%s, 'test')", [scope])
    found = _services(configure)["kill switch"]
    assert found.state == state
    assert "switch lift" in found.fix


@pytest.mark.parametrize(
    ("free", "total", "state", "said"),
    [
        (0, 0, "failed", "all messages are refused"),
        (5, 4, "failed", "what paying users need"),
        (0, 50, "warning", "all messages of free users are refused"),
        (5, 50, "ok", "5 USD per day for the free tier, 50 USD for everyone"),
    ],
)
def test_caps_that_do_not_fit_are_reported(
    free: int, total: int, state: str, said: str, configure: Configure
) -> None:
    found = _services(configure, free_tier_daily_usd=free, total_daily_usd=total)["caps"]
    assert found.state == state
    assert said in found.said


def test_caps_are_those_that_an_admin_has_set(
    configure: Configure, owner: psycopg.Connection
) -> None:
    owner.execute(
        "insert into private.spending_caps (scope, usd, changed_by) values ('total', 0, 'operator')"
    )
    assert _services(configure)["caps"].state == "failed"


# Sign-in


def _sign_in(configure: Configure, **others: object) -> Found:
    return by_item(product._sign_in(configure(**others)))


def test_sign_in_server_that_confirms_addresses_is_well(
    configure: Configure, confirming_stack: Stack
) -> None:
    found = _sign_in(
        configure,
        supabase_url=confirming_stack.env["SUPABASE_URL"],
        supabase_publishable_key=confirming_stack.env["SUPABASE_PUBLISHABLE_KEY"],
    )
    assert [each for each in found.values() if each.state != "ok"] == []


def test_sign_in_server_that_is_set_up_otherwise_is_reported(configure: Configure) -> None:
    found = _sign_in(configure, oauth_providers="google", sign_up_mode="closed")
    assert "offers google, which Supabase doesn't" in found["sign-in"].said
    assert found["confirmed addresses"].state == "failed"
    assert found["sign-up server"].state == "warning"


def test_sign_in_server_that_is_away_is_reported(configure: Configure) -> None:
    found = _sign_in(configure, supabase_url=f"http://127.0.0.1:{free_port()}")["sign-in"]
    assert (found.state, "SUPABASE_URL" in found.fix) == ("failed", True)


def test_key_that_the_sign_in_server_does_not_know_is_reported(configure: Configure) -> None:
    found = _sign_in(configure, supabase_publishable_key="sb_publishable_wrong")["sign-in"]
    assert found.state == "failed"
    assert "401" in found.said


# Mails


@pytest.fixture
def mailer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail servers below are another machine's, by name."""
    resolve = socket.getaddrinfo

    def resolved(host: str, *args: object, **more: object) -> object:
        return resolve(HOST if host == MAILER else host, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    context, trusted = certificate(tmp_path, MAILER)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


FROM = f"Chat <mail@{MAILER}>"


@pytest.mark.usefixtures("mailer")
def test_mail_server_that_offers_starttls_is_well(
    configure: Configure, tls: ssl.SSLContext
) -> None:
    with MailServer(start_tls=tls) as server:
        config = configure(smtp_url=f"smtp://{MAILER}:{server.port}", mail_from=FROM)
        found = product._mail(config)
    assert (found.state, "with STARTTLS" in found.said) == ("ok", True)
    assert server.taken == []


@pytest.mark.usefixtures("mailer")
def test_mail_server_without_starttls_is_reported(configure: Configure) -> None:
    with MailServer() as server:
        config = configure(smtp_url=f"smtp://{MAILER}:{server.port}", mail_from=FROM)
        found = product._mail(config)
    assert (found.state, "STARTTLS" in found.fix) == ("failed", True)


def test_wrong_password_for_mails_is_reported_without_it(configure: Configure) -> None:
    with MailServer(login=("ada", "right")) as server:
        config = configure(smtp_url=f"smtp://ada:wrong-one@{HOST}:{server.port}", mail_from=FROM)
        found = product._mail(config)
    assert found.state == "failed"
    assert "wrong-one" not in str(found)


def test_mails_from_nobody_are_reported(configure: Configure) -> None:
    with MailServer() as server:
        config = configure(
            smtp_url=f"smtp://{HOST}:{server.port}", mail_from="Chat <mail@example.com>"
        )
        found = product._mail(config)
    assert (found.state, "example.com" in found.said) == ("failed", True)


def test_no_mail_server_is_a_warning(configure: Configure) -> None:
    assert product._mail(configure(smtp_url=None, mail_from=None)).state == "warning"


# Pages


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build to put things into."""
    folder = tmp_path / "client"
    folder.mkdir()
    monkeypatch.setattr(frontend, "CLIENT", folder)
    monkeypatch.setattr(frontend, "STAMP", tmp_path / "stamp.json")
    return folder


def test_pages_that_are_not_built_are_reported(configure: Configure, client: Path) -> None:
    found = by_item(product._pages(configure()))
    assert (found["front end"].state, client.exists()) == ("failed", True)
    assert "aisaas build" in found["front end"].fix


@pytest.mark.parametrize("how", ["value", "pattern", "none"])
def test_secret_in_the_pages_is_reported_and_not_repeated(
    how: str, configure: Configure, client: Path
) -> None:
    config = configure()
    assert config.session_secret is not None
    secret = config.session_secret.get_secret_value()
    text = {"value": secret, "pattern": "sk_live_0123456789abcdef", "none": "hello"}[how]
    (client / "index.html").write_text("<html></html>")
    (client / "page.js").write_text(f"const key = '{text}'")
    found = by_item(product._pages(config))
    assert found["front end"].state == "failed"
    leak = found["secrets in the pages"]
    if how == "none":
        assert leak.state == "ok"
        return
    assert leak.state == "failed"
    assert (
        leak.said
        == {
            "value": "page.js: the value of SESSION_SECRET",
            "pattern": "page.js: a Stripe key",
        }[how]
    )
    assert text not in str(found)


def test_build_of_what_is_here_is_well(configure: Configure, client: Path) -> None:
    config = configure()
    (client / "index.html").write_text("<html></html>")
    frontend.STAMP.write_text(json.dumps(frontend._stamp(frontend._sources(config))))
    assert by_item(product._pages(config))["front end"].state == "ok"
