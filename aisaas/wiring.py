"""Builds the adapters and the domains' services once, from settings."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache, partial

from pydantic import SecretStr

from aisaas.accounts import attempts
from aisaas.accounts import retention as accounts_retention
from aisaas.accounts.attempts import Attempts
from aisaas.accounts.identity import AccountRules, Accounts
from aisaas.accounts.live import LiveSessions
from aisaas.accounts.pictures import Pictures
from aisaas.accounts.sessions import Sealer, TokenCipher, cookie_name
from aisaas.adapters.alert_webhook import AlertWebhook
from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.adapters.provider_models import discover
from aisaas.adapters.redis_attempts import RedisAttempts
from aisaas.adapters.redis_client import make_listening_redis, make_redis, reach
from aisaas.adapters.redis_job_runs import RedisJobRuns
from aisaas.adapters.redis_limiter import RedisLimiter
from aisaas.adapters.redis_reply_log import BLOCK_MS, RedisReplyLog
from aisaas.adapters.redis_signals import RedisSignals
from aisaas.adapters.smtp_mail import SmtpMail
from aisaas.adapters.stripe_payments import StripePayments
from aisaas.adapters.supabase_identity import SupabaseIdentity
from aisaas.admin.audit import AuditLog
from aisaas.admin.billing_ops import MoneyHealth
from aisaas.admin.credits import Credits
from aisaas.admin.entitlement_differences import Entitlements
from aisaas.admin.job_failures import FailedJobs
from aisaas.admin.losses import UsageLosses
from aisaas.admin.outbox import OutboxAdmin
from aisaas.admin.prices import Prices
from aisaas.admin.provider_reports import ProviderReports
from aisaas.admin.reconciliation import ReconciliationAdmin
from aisaas.admin.stripe_pages import StripePages
from aisaas.admin.usage import UsageReports
from aisaas.admin.users import Users, UsersParts
from aisaas.admin.webhooks import WebhookEvents
from aisaas.billing import retention as billing_retention
from aisaas.billing.alert_delivery import AlertDelivery
from aisaas.billing.ledger import losses
from aisaas.billing.ledger.usage import Usage
from aisaas.billing.metering.outbox import Outbox
from aisaas.billing.metering.reconcile import Reconciliation
from aisaas.billing.metrics import Figures
from aisaas.billing.notices.mail import Letterhead
from aisaas.billing.notices.mailer import NoticeMails
from aisaas.billing.plans.terms import Plan, extra_usage, plans
from aisaas.billing.providers.alerts import ProviderAlerts
from aisaas.billing.providers.health import ProviderHealth
from aisaas.billing.reservations.quota import Quota
from aisaas.billing.reservations.refusals import Refusals
from aisaas.billing.reservations.spending_alerts import SpendingAlerts
from aisaas.billing.subscriptions.changes import BillingChanges
from aisaas.billing.subscriptions.checkout import Checkout
from aisaas.billing.subscriptions.events import StripeEvents
from aisaas.billing.subscriptions.subscriptions import Subscriptions
from aisaas.billing.subscriptions.tasks import SubscriptionTasks
from aisaas.chat import retention as chat_retention
from aisaas.chat.catalogue import Catalogue, Known, added_line, load_catalogue
from aisaas.chat.circuits import Circuits
from aisaas.chat.conversations import Conversations
from aisaas.chat.export import Export
from aisaas.chat.guards import AdmissionContext
from aisaas.chat.live_catalogue import LiveCatalogue
from aisaas.chat.recover import Recovery
from aisaas.chat.reply import ReplyParts
from aisaas.chat.running import RunningReplies
from aisaas.chat.send import Chat, ChatParts
from aisaas.chat.settle import Settler
from aisaas.chat.token_ratios import TokenRatios
from aisaas.controls.found_models import FoundModels, Provider
from aisaas.controls.kill_switch import KillSwitches
from aisaas.controls.lineup import ModelSource
from aisaas.controls.model_overrides import ModelOffers
from aisaas.controls.ports import Discovery
from aisaas.controls.spending_caps import Caps, CapScope
from aisaas.db.engine import DatabasePool, PoolUse
from aisaas.db.purging import Purge
from aisaas.db.service import ServiceDatabase
from aisaas.db.user import UserDatabase
from aisaas.observe.draining import Draining
from aisaas.observe.readiness import Dependencies, Dependency
from aisaas.settings import Settings, settings

log = logging.getLogger(__name__)

Closer = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Metering:
    """Usage on its way to the meter, and whether it got there."""

    outbox: Outbox
    reconciliation: Reconciliation


@dataclass(frozen=True)
class Services:
    """Everything the user interface, the routes and the jobs call."""

    settings: Settings
    cookie: str
    accounts: Accounts
    pictures: Pictures
    # Seals what a browser keeps during a visit to a sign-in provider.
    visits: Sealer
    conversations: Conversations
    export: Export
    admission: AdmissionContext
    chat: Chat
    quota: Quota
    checkout: Checkout
    billing_changes: BillingChanges
    usage: Usage
    refusals: Refusals
    provider_health: ProviderHealth
    provider_reports: ProviderReports
    catalogue: Catalogue
    live_catalogue: LiveCatalogue
    offers: ModelOffers
    found_models: FoundModels
    prices: Prices
    switches: KillSwitches
    caps: Caps
    credits: Credits
    audit: AuditLog
    users: Users
    money: MoneyHealth
    usage_reports: UsageReports
    recovery: Recovery
    running: RunningReplies
    model: LiteLLMModel
    # None: nothing is sold here, and nothing metered.
    payments: StripePayments | None
    subscriptions: Subscriptions | None
    subscription_tasks: SubscriptionTasks | None
    stripe_events: StripeEvents | None
    metering: Metering | None
    # None: no mail server is set.
    notice_mails: NoticeMails | None
    # Begun on SIGTERM; from then on this process isn't ready.
    draining: Draining
    dependencies: Dependencies
    spending_alerts: SpendingAlerts
    loss_alerts: AlertDelivery
    provider_alerts: ProviderAlerts
    purge: Purge
    figures: Figures
    job_times: RedisJobRuns
    # How much of each login's pools is in use.
    pools: Callable[[], Mapping[str, Mapping[str, PoolUse]]]
    _closers: tuple[Closer, ...]

    async def close(self) -> None:
        """Let go of every connection."""
        for closer in self._closers:
            await closer()


def _reveal(secret: SecretStr | None) -> str:
    """A setting that `Settings` has already required."""
    assert secret is not None
    return secret.get_secret_value()


@dataclass(frozen=True, slots=True)
class _Adapters:
    """One of each vendor, and how to let go of them."""

    user: UserDatabase
    service: ServiceDatabase
    limiter: RedisLimiter
    attempts: RedisAttempts
    reply_log: RedisReplyLog
    signals: RedisSignals
    identity: SupabaseIdentity
    model: LiteLLMModel
    payments: StripePayments | None
    dependencies: tuple[Dependency, ...]
    job_times: RedisJobRuns
    pools: Callable[[], Mapping[str, Mapping[str, PoolUse]]]
    closers: tuple[Closer, ...]


def _adapters(config: Settings) -> _Adapters:
    database_url = _reveal(config.database_url)
    user_login = DatabasePool(database_url)
    service_login = DatabasePool(_reveal(config.service_database_url or config.database_url))
    redis_url = _reveal(config.redis_url)
    redis = make_redis(redis_url)
    listening = make_listening_redis(redis_url, block_seconds=BLOCK_MS / 1000)
    prefix = f"aisaas:{config.app_env}"
    assert config.supabase_url is not None
    identity = SupabaseIdentity(
        config.supabase_url,
        _reveal(config.supabase_publishable_key),
        _reveal(config.supabase_secret_key),
    )
    payments = _payments(config)
    return _Adapters(
        user=UserDatabase(user_login),
        service=ServiceDatabase(service_login),
        limiter=RedisLimiter(redis, prefix=prefix),
        attempts=RedisAttempts(redis, prefix=prefix),
        reply_log=RedisReplyLog(redis, listening, prefix=prefix),
        signals=RedisSignals(redis, listening, prefix=prefix),
        identity=identity,
        model=LiteLLMModel(config),
        payments=payments,
        dependencies=(
            Dependency("database", lambda: user_login.reach("anon"), seconds=3.0),
            Dependency("database_jobs", lambda: service_login.reach("service_role"), seconds=3.0),
            Dependency("redis", lambda: reach(redis), seconds=1.0),
            Dependency("auth", identity.reach, seconds=2.5),
            *_optional(payments),
        ),
        job_times=RedisJobRuns(redis, prefix=prefix),
        pools=lambda: {"user": user_login.use(), "service": service_login.use()},
        closers=(
            user_login.close,
            service_login.close,
            redis.aclose,
            listening.aclose,
            identity.close,
            *((payments.close,) if payments else ()),
        ),
    )


def _optional(payments: StripePayments | None) -> tuple[Dependency, ...]:
    """Chat goes on without it: usage waits in the outbox."""
    if payments is None:
        return ()
    return (
        Dependency("payments", payments.reach, seconds=5.0, required=False, fresh_seconds=30.0),
    )


def _payments(config: Settings) -> StripePayments | None:
    if config.stripe_secret_key is None:
        return None
    return StripePayments(
        config.stripe_secret_key.get_secret_value(),
        api_base=config.stripe_api_base,
        webhook_secrets=config.webhook_secrets,
        meter_webhook_secrets=config.meter_webhook_secrets,
    )


def _subscriptions(
    config: Settings, to: _Adapters, sold: Mapping[str, Plan]
) -> Subscriptions | None:
    if to.payments is None:
        return None
    for variable, secrets in (
        ("STRIPE_WEBHOOK_SECRET", config.webhook_secrets),
        ("STRIPE_METER_WEBHOOK_SECRET", config.meter_webhook_secrets),
    ):
        if not secrets:
            log.warning("%s is not set: its webhook endpoint is off", variable)
    return Subscriptions(
        to.service,
        to.payments,
        to.signals,
        plans=[plan.id for plan in sold.values() if plan.metered],
        grace=timedelta(days=config.past_due_grace_days),
        after_refund=config.after_full_refund,
    )


def _metering(to: _Adapters) -> Metering | None:
    if to.payments is None:
        return None
    return Metering(Outbox(to.service, to.payments), Reconciliation(to.service, to.payments))


def _money(
    to: _Adapters,
    metering: Metering | None,
    events: StripeEvents | None,
    subscriptions: Subscriptions | None,
) -> MoneyHealth:
    reconciliation = metering.reconciliation if metering else None
    return MoneyHealth(
        usage=OutboxAdmin(to.service, reconciliation),
        ledger=ReconciliationAdmin(to.service, to.payments, reconciliation),
        webhooks=WebhookEvents(to.service, to.payments, events),
        entitlements=Entitlements(to.service, to.payments, subscriptions),
        failed_jobs=FailedJobs(to.service),
        losses=UsageLosses(to.service),
    )


def _notice_mails(config: Settings, to: _Adapters, sold: Mapping[str, Plan]) -> NoticeMails | None:
    if config.smtp_url is None:
        return None
    assert config.mail_from is not None
    mailer = SmtpMail(config.smtp_url.get_secret_value(), config.mail_from)
    return NoticeMails(to.service, mailer, Letterhead(config.app_name, config.url, sold))


def _usage_reports(config: Settings, to: _Adapters, sold: Mapping[str, Plan]) -> UsageReports:
    return UsageReports(
        to.service,
        base_usd={plan.id: plan.price.base_usd for plan in sold.values() if plan.price},
        caps={"free": config.free_tier_daily_usd, "total": config.total_daily_usd},
    )


def _alert_webhook(config: Settings) -> AlertWebhook | None:
    if config.alert_webhook_url is None:
        return None
    secret = config.alert_webhook_secret
    return AlertWebhook(
        config.alert_webhook_url.get_secret_value(),
        secret.get_secret_value() if secret is not None else None,
        app=config.app_name,
    )


def _accounts(config: Settings, to: _Adapters, live: LiveSessions) -> Accounts:
    limits = attempts.rules(
        sign_in_tries_per_account=config.sign_in_tries_per_account,
        sign_in_tries_per_address=config.sign_in_tries_per_address,
        sign_ups_per_address=config.sign_ups_per_address,
        mails_per_account=config.mails_per_account,
        mails_per_address=config.mails_per_address,
    )
    rules = AccountRules(
        sign_up_mode=config.sign_up_mode,
        oauth_providers=config.oauth_providers,
        first_account_is_admin="auth" in config.embedded_parts,
        product=config.app_name,
    )
    counted = Attempts(to.attempts, config.session_secrets[0], limits)
    return Accounts(to.service, to.user, to.identity, live, counted, rules)


def _users(config: Settings, to: _Adapters, live: LiveSessions, quota: Quota) -> Users:
    stripe = None
    if config.stripe_secret_key is not None:
        stripe = StripePages(live=config.stripe_is_live, stand_in=config.payments_url)
    return Users(
        to.service,
        UsersParts(
            live=live,
            identity=to.identity,
            quota=quota,
            stripe=stripe,
            url=config.url,
            mails_go_out=config.smtp_url is not None,
        ),
    )


def _purge(config: Settings, to: _Adapters) -> Purge:
    # What refers to others comes first.
    rules = (*chat_retention.RULES, *billing_retention.RULES, *accounts_retention.RULES)
    days = {
        name: getattr(config, name)
        for name in (
            chat_retention.KEEP,
            billing_retention.RECORDS,
            billing_retention.ACCOUNTING,
        )
    }
    return Purge(to.service, rules, days | accounts_retention.DAYS)


def _found_models(
    config: Settings, to: _Adapters, source: ModelSource, sold: Mapping[str, Plan]
) -> FoundModels:
    access = config.provider_access()
    providers = [Provider(each.id, each.label, each.prefix) for each in access.values()]

    async def ask(provider: str) -> Discovery:
        (found,) = await discover([access[provider]])
        return found

    return FoundModels(to.service, source, sold, providers, ask)


def _scopes(sold: Mapping[str, Plan], catalogue: Catalogue) -> list[str]:
    """What the kill switch can be for, besides everything."""
    return [
        *(f"plan:{plan}" for plan in sold),
        *(f"provider:{provider}" for provider in catalogue.providers),
        *(f"model:{line.id}" for line in catalogue.present),
    ]


def build(config: Settings) -> Services:
    """Construct everything; connects to nothing.

    Raises:
        ConfigurationError: the catalogue is unfit.
    """
    to = _adapters(config)
    sold = plans(config)
    caps: dict[CapScope, Decimal] = {
        "free": config.free_tier_daily_usd,
        "total": config.total_daily_usd,
    }
    catalogue = load_catalogue(
        config, to.model.price_of, tuple(sold), to.model.reasoning_of, to.model.facts_of
    )
    known = Known(to.model.price_of, to.model.reasoning_of, to.model.facts_of)
    source = ModelSource(catalogue.lines, lambda row: added_line(row, config, known, sold))
    live_catalogue = LiveCatalogue(catalogue, to.service, source)
    quota = Quota(
        to.service,
        to.user,
        sold,
        free_cap=caps["free"],
        total_cap=caps["total"],
    )
    refusals = Refusals(to.service)
    circuits = Circuits()
    health = ProviderHealth(to.service, circuits.not_closed)
    ratios = TokenRatios(to.service)
    settler = Settler(
        to.service,
        to.model.count_tokens,
        lambda plan: extra_usage(sold, plan),
        ratios,
        losses_to_webhook=config.alert_webhook_url is not None,
    )
    reply_parts = ReplyParts(
        settler=settler,
        model=to.model,
        log=to.reply_log,
        first_token_seconds=config.first_token_timeout_seconds,
        thinking_seconds=config.thinking_timeout_seconds,
        token_gap_seconds=config.token_gap_timeout_seconds,
        circuits=circuits,
        attempted=health.record,
    )
    draining = Draining()
    running = RunningReplies(reply_parts, quota, to.signals, draining)
    context = AdmissionContext(
        user=to.user,
        quota=quota,
        limiter=to.limiter,
        catalogue=catalogue,
        live=live_catalogue,
        count_tokens=to.model.count_tokens,
        ratios=ratios,
        max_message_chars=config.max_message_chars,
        max_reply_tokens=config.max_reply_tokens,
    )
    subscriptions = _subscriptions(config, to, sold)
    metering = _metering(to)
    stripe_events = StripeEvents(to.service, subscriptions) if subscriptions else None
    cookie = cookie_name(app_env=config.app_env, secure=config.secure_cookies)
    cipher = TokenCipher(*config.session_secrets)
    live = LiveSessions(to.service, to.identity, cipher, cookie=cookie)
    accounts = _accounts(config, to, live)
    return Services(
        settings=config,
        cookie=cookie,
        accounts=accounts,
        pictures=Pictures(to.user, to.service),
        visits=Sealer(*config.session_secrets, purpose="aisaas provider visits"),
        conversations=Conversations(to.user),
        export=Export(to.user),
        admission=context,
        chat=Chat(
            ChatParts(
                context,
                to.user,
                settler,
                to.model,
                to.reply_log,
                running,
                refusals=refusals,
                circuits=circuits,
                attempted=health.record,
                ended=accounts.ended,
            )
        ),
        quota=quota,
        billing_changes=BillingChanges(to.signals),
        checkout=Checkout(
            to.service,
            to.user,
            to.payments,
            to.attempts,
            quota,
            sold,
            subscriptions,
            page=f"{config.url}/billing",
        ),
        usage=Usage(to.user, quota.limits_of),
        refusals=refusals,
        provider_health=health,
        provider_reports=ProviderReports(to.service, config.provider_access()),
        catalogue=catalogue,
        live_catalogue=live_catalogue,
        prices=Prices(
            to.service,
            source,
            lambda line: to.model.price_of(line.map_name or line.upstream),
        ),
        offers=ModelOffers(to.service, source, sold),
        found_models=_found_models(config, to, source, sold),
        switches=KillSwitches(to.service, to.signals, lambda: _scopes(sold, catalogue)),
        caps=Caps(to.service, caps),
        credits=Credits(to.service),
        audit=AuditLog(to.service),
        users=_users(config, to, live, quota),
        money=_money(to, metering, stripe_events, subscriptions),
        usage_reports=_usage_reports(config, to, sold),
        recovery=Recovery(
            to.service,
            to.reply_log,
            catalogue,
            settler,
            running_here=lambda message_id: running.get(message_id) is not None,
        ),
        running=running,
        model=to.model,
        payments=to.payments,
        subscriptions=subscriptions,
        subscription_tasks=SubscriptionTasks(to.service, to.payments, subscriptions)
        if to.payments and subscriptions
        else None,
        stripe_events=stripe_events,
        notice_mails=_notice_mails(config, to, sold),
        draining=draining,
        dependencies=Dependencies(to.dependencies, draining),
        metering=metering,
        spending_alerts=SpendingAlerts(
            to.service, {**caps}, _alert_webhook(config), page=f"{config.url}/admin/steering"
        ),
        loss_alerts=AlertDelivery(
            to.service,
            _alert_webhook(config),
            "private.loss_alerts",
            partial(losses.alert, page=f"{config.url}/admin/money"),
        ),
        provider_alerts=ProviderAlerts(
            to.service,
            config.provider_access(),
            _alert_webhook(config),
            page=f"{config.url}/admin/steering",
        ),
        purge=_purge(config, to),
        figures=Figures(to.service),
        job_times=to.job_times,
        pools=to.pools,
        _closers=(accounts.close, *to.closers),
    )


@lru_cache(maxsize=1)
def services() -> Services:
    """The services of this process."""
    return build(settings())
