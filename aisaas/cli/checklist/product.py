"""The other things a launch needs: models with prices, sign-in, mails, the kill switch, the pages."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.request
from collections.abc import Generator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import ProgrammingError

from aisaas.adapters.smtp_mail import SmtpMail, SmtpServer
from aisaas.billing.plans.terms import FREE, plans
from aisaas.cli.build import frontend
from aisaas.cli.build.leaks import find_leaks
from aisaas.cli.checklist.findings import Finding, fail, first, ok, skipped, warn
from aisaas.controls.kill_switch import EVERYTHING
from aisaas.errors import (
    ConfigurationError,
    DependencyError,
    MailError,
    ModelUnavailable,
    Unavailable,
)
from aisaas.settings import Settings
from aisaas.wiring import Services, build

ANSWER_SECONDS = 5
NOT_REAL = ("example.com", "example.org", "example.net", ".example", ".invalid", ".test", ".local")


def look(config: Settings) -> Generator[Finding]:
    yield from _services(config)
    yield from _sign_in(config)
    yield _mail(config)
    yield from _pages(config)


def _services(config: Settings) -> Generator[Finding]:
    try:
        services = build(config)
    except ConfigurationError as error:
        yield fail(
            "models",
            "; ".join(error.problems),
            "fix the catalog (MODEL_CATALOGUE) or DEFAULT_MODEL",
        )
        return
    steered = asyncio.run(_steered(services))
    yield _models(services)
    yield _default_model(services)
    yield from steered


def _models(services: Services) -> Finding:
    """The models on sale, from the catalog and the admins' changes. Building the services has
    already checked that each enabled model has a price."""
    demo = "demo" in services.settings.providers()
    if demo:
        return fail(
            "models",
            "the demo model is on sale",
            "set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, or another provider's key",
        )
    catalogue = services.catalogue
    sold = {m.id: m for plan in plans(services.settings) for m in catalogue.for_plan(plan)}
    for_nothing = [
        m.id for m in sold.values() if m.price.input_usd == 0 and m.price.output_usd == 0
    ]
    if for_nothing:
        return warn(
            "models",
            f"price is 0: {first(for_nothing)}; no daily cap ever limits them",
            "set a price in MODEL_CATALOGUE, unless they run on your own machine",
        )
    return ok("models", f"{len(sold)}, each with a price")


def _default_model(services: Services) -> Finding:
    wanted = services.settings.default_model
    try:
        got = services.catalogue.default_for(FREE)
    except ModelUnavailable:
        return fail(
            "default model",
            "no model is on sale on Free",
            "turn one on under Controls at /admin, or in MODEL_CATALOGUE",
        )
    if wanted and got.id != wanted:
        return fail(
            "default model",
            f"{wanted} isn't available on Free, so conversations there start with {got.id}",
            "set DEFAULT_MODEL to a model that the catalog offers on free",
        )
    return ok("default model", f"{got.id}, available on Free")


async def _steered(services: Services) -> Sequence[Finding]:
    """What admins may have changed at run time: read from the database, not from the settings."""
    try:
        engaged = [switch.scope for switch in await services.switches.engaged()]
        caps = {cap.scope: cap.usd for cap in await services.caps.of_operator()}
        await services.live_catalogue.read()
    except (DependencyError, Unavailable):
        return [
            fail(item, "the database didn't answer", "make sure that it is running")
            for item in ("caps", "kill switch")
        ]
    except ProgrammingError:
        return [
            skipped(item, "needs the newest schema", "run `python -m aisaas migrate`")
            for item in ("caps", "kill switch")
        ]
    finally:
        await services.close()
    return [_caps(caps["free"], caps["total"]), _kill_switch(engaged)]


def _caps(free: Decimal, total: Decimal) -> Finding:
    said = f"{free.normalize():f} USD per day for the free tier, {total.normalize():f} USD for everyone"
    where = "or change it under Controls at /admin"
    if total == 0:
        return fail(
            "caps", f"{said}: all messages are refused", f"set TOTAL_DAILY_USD above 0, {where}"
        )
    if total < free:
        return fail(
            "caps",
            f"{said}: free users can use up what paying users need",
            "set TOTAL_DAILY_USD to FREE_TIER_DAILY_USD plus what paying users need, " + where,
        )
    if free == 0:
        return warn(
            "caps",
            f"{said}: all messages of free users are refused",
            f"set FREE_TIER_DAILY_USD above 0, {where}",
        )
    return ok("caps", said)


def _kill_switch(engaged: Sequence[str]) -> Finding:
    if EVERYTHING in engaged:
        return fail(
            "kill switch",
            "engaged for everything: all messages are refused",
            'python -m aisaas switch lift --reason "…"',
        )
    if engaged:
        return warn(
            "kill switch",
            f"engaged for {first(list(engaged))}",
            f'python -m aisaas switch lift {engaged[0]} --reason "…"',
        )
    return ok("kill switch", "not engaged")


def _sign_in(config: Settings) -> Generator[Finding]:
    assert config.supabase_publishable_key is not None
    key = config.supabase_publishable_key.get_secret_value()
    # The settings only accept http and https addresses.
    request = urllib.request.Request(  # noqa: S310
        f"{config.supabase_url}/auth/v1/settings", headers={"apikey": key}
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            auth: Any = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        yield fail(
            "sign-in",
            f"the sign-in server doesn't answer: {error}",
            "check SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY",
        )
        return
    external: Any = auth.get("external") or {}
    if missing := [name for name in config.oauth_providers if not external.get(name)]:
        yield fail(
            "sign-in",
            f"OAUTH_PROVIDERS offers {', '.join(missing)}, which Supabase doesn't",
            "Supabase dashboard > Authentication > Providers: enable it, or remove it from OAUTH_PROVIDERS",
        )
    else:
        yield ok("sign-in", f"answers; offers {', '.join(config.oauth_providers) or 'email'}")
    if auth.get("mailer_autoconfirm"):
        yield fail(
            "confirmed addresses",
            "anyone can create any number of accounts, even with other people's addresses",
            "Supabase dashboard > Authentication > Email: turn on Confirm email",
        )
    else:
        yield ok("confirmed addresses", "addresses are confirmed by mail")
    if config.sign_up_mode == "open" and auth.get("disable_signup"):
        yield fail(
            "sign-up server",
            "SIGN_UP_MODE is open, but sign-up is disabled in Supabase",
            "Supabase dashboard > Authentication: turn on Allow new users to sign up, or change SIGN_UP_MODE",
        )
    elif config.sign_up_mode != "open" and not auth.get("disable_signup"):
        yield warn(
            "sign-up server",
            f"SIGN_UP_MODE is {config.sign_up_mode}, but Supabase itself lets anyone sign up",
            "Supabase dashboard > Authentication: turn off Allow new users to sign up",
        )
    else:
        yield ok("sign-up server", "the same as SIGN_UP_MODE")


def _mail(config: Settings) -> Finding:
    if config.smtp_url is None or config.mail_from is None:
        return warn(
            "mail",
            "SMTP_URL is not set, so emails about failed payments, trials, and caps aren't sent",
            "set SMTP_URL and MAIL_FROM",
        )
    url = config.smtp_url.get_secret_value()
    try:
        SmtpMail(url, config.mail_from).reach()
    except MailError as error:
        return fail(
            "mail",
            f"the mail server can't be used: {error}",
            "check SMTP_URL: host, port, user, and password; on port 587 the server must offer STARTTLS",
        )
    domain = config.mail_from.rstrip("> ").rpartition("@")[2].lower()
    if domain.endswith(NOT_REAL):
        return fail(
            "mail",
            f"MAIL_FROM uses {domain}, which is a placeholder domain",
            "set MAIL_FROM to an address whose domain allows that server to send for it (SPF, DKIM)",
        )
    server = SmtpServer.at(url)
    # The adapter sends nothing to another machine without TLS, and checks its certificate.
    how = "on this machine" if server.here else "with TLS" if server.tls else "with STARTTLS"
    return ok("mail", f"{server.host} accepts the sign-in, {how}, from {config.mail_from}")


def _pages(config: Settings) -> Generator[Finding]:
    if not (frontend.CLIENT / "index.html").is_file():
        yield fail("front end", "is not built", "run `python -m aisaas build`")
        return
    if frontend.is_current(config):
        yield ok("front end", "built from the current files")
    else:
        yield fail("front end", "was built from other files", "run `python -m aisaas build`")
    yield leaks(find_leaks(frontend.CLIENT, config.secrets()))


def leaks(found: Sequence[str]) -> Finding:
    if found:
        return fail(
            "secrets in the pages",
            first(list(found)),
            "remove it from the pages' code, build again, and replace the key if it was public",
        )
    return ok(
        "secrets in the pages", "none of the configured secrets, and nothing that looks like a key"
    )
