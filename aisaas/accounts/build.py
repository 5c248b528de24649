"""Builds the services of accounts."""

from __future__ import annotations

from dataclasses import dataclass

from aisaas.accounts import attempts
from aisaas.accounts.attempts import Attempts
from aisaas.accounts.identity import AccountRules, Accounts
from aisaas.accounts.live import LiveSessions
from aisaas.accounts.pictures import Pictures
from aisaas.accounts.ports import Identity, Limiter
from aisaas.accounts.sessions import Sealer, TokenCipher, cookie_name
from aisaas.db.build import Databases
from aisaas.settings import Settings


@dataclass(frozen=True)
class AccountServices:
    cookie: str
    accounts: Accounts
    live_sessions: LiveSessions
    pictures: Pictures
    # Seals the cookie a browser holds during a visit to a sign-in provider.
    visits: Sealer


def build(
    config: Settings,
    databases: Databases,
    identity: Identity,
    limiter: Limiter,
) -> AccountServices:
    cookie = cookie_name(app_env=config.app_env, secure=config.secure_cookies)
    cipher = TokenCipher(*config.session_secrets)
    live = LiveSessions(databases.service, identity, cipher, cookie=cookie)
    rules = AccountRules(
        sign_up_mode=config.sign_up_mode,
        oauth_providers=config.oauth_providers,
        first_account_is_admin="auth" in config.embedded_parts,
        product=config.app_name,
    )
    counted = Attempts(limiter, config.session_secrets[0], _limits(config))
    return AccountServices(
        cookie=cookie,
        accounts=Accounts(databases.service, databases.user, identity, live, counted, rules),
        live_sessions=live,
        pictures=Pictures(databases.user, databases.service),
        visits=Sealer(*config.session_secrets, purpose="aisaas provider visits"),
    )


def _limits(config: Settings) -> attempts.Rules:
    return attempts.rules(
        sign_in_tries_per_account=config.sign_in_tries_per_account,
        sign_in_tries_per_address=config.sign_in_tries_per_address,
        sign_ups_per_address=config.sign_ups_per_address,
        mails_per_account=config.mails_per_account,
        mails_per_address=config.mails_per_address,
    )
