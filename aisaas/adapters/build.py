"""Chooses the adapters, one per vendor, and how to close them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import SecretStr

from aisaas.adapters.alert_webhook import AlertWebhook
from aisaas.adapters.litellm_model import LiteLLMModel
from aisaas.adapters.provider_models import discover
from aisaas.adapters.redis_client import make_listening_redis, make_redis, reach
from aisaas.adapters.redis_job_runs import RedisJobRuns
from aisaas.adapters.redis_limiter import RedisLimiter
from aisaas.adapters.redis_reply_log import BLOCK_MS, RedisReplyLog
from aisaas.adapters.redis_signals import RedisSignals
from aisaas.adapters.smtp_mail import SmtpMail
from aisaas.adapters.stripe_payments import StripePayments
from aisaas.adapters.supabase_identity import SupabaseIdentity
from aisaas.controls.ports import Discovery
from aisaas.observe.readiness import Dependency
from aisaas.settings import Settings

Closer = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Adapters:
    limiter: RedisLimiter
    reply_log: RedisReplyLog
    signals: RedisSignals
    job_times: RedisJobRuns
    identity: SupabaseIdentity
    model: LiteLLMModel
    # Finds the models a provider lists, by its id.
    discover: Callable[[str], Awaitable[Discovery]]
    # None: payments are off, and nothing is metered.
    payments: StripePayments | None
    # None: no mail server is configured.
    mailer: SmtpMail | None
    # None: alerts are only mailed.
    alerts: AlertWebhook | None
    dependencies: tuple[Dependency, ...]
    closers: tuple[Closer, ...]


def build(config: Settings) -> Adapters:
    """Makes no connection."""
    redis_url = _required(config.redis_url)
    redis = make_redis(redis_url)
    listening = make_listening_redis(redis_url, block_seconds=BLOCK_MS / 1000)
    prefix = f"aisaas:{config.app_env}"
    identity = _identity(config)
    payments = _payments(config)
    return Adapters(
        limiter=RedisLimiter(redis, prefix=prefix),
        reply_log=RedisReplyLog(redis, listening, prefix=prefix),
        signals=RedisSignals(redis, listening, prefix=prefix),
        job_times=RedisJobRuns(redis, prefix=prefix),
        identity=identity,
        model=LiteLLMModel(config),
        discover=_discovery(config),
        payments=payments,
        mailer=_mailer(config),
        alerts=_alerts(config),
        dependencies=(
            Dependency("redis", lambda: reach(redis), seconds=1.0),
            Dependency("auth", identity.reach, seconds=2.5),
            *_optional(payments),
        ),
        closers=(
            redis.aclose,
            listening.aclose,
            identity.close,
            *((payments.close,) if payments else ()),
        ),
    )


def _required(secret: SecretStr | None) -> str:
    """A setting that `Settings` has already required."""
    assert secret is not None
    return secret.get_secret_value()


def _identity(config: Settings) -> SupabaseIdentity:
    assert config.supabase_url is not None
    return SupabaseIdentity(
        config.supabase_url,
        _required(config.supabase_publishable_key),
        _required(config.supabase_secret_key),
    )


def _discovery(config: Settings) -> Callable[[str], Awaitable[Discovery]]:
    access = config.provider_access()

    async def of_one(provider: str) -> Discovery:
        (found,) = await discover([access[provider]])
        return found

    return of_one


def _payments(config: Settings) -> StripePayments | None:
    if config.stripe_secret_key is None:
        return None
    return StripePayments(
        config.stripe_secret_key.get_secret_value(),
        api_base=config.stripe_api_base,
        webhook_secrets=config.webhook_secrets,
        meter_webhook_secrets=config.meter_webhook_secrets,
    )


def _optional(payments: StripePayments | None) -> tuple[Dependency, ...]:
    """Optional, because chat works without it: usage waits in the outbox."""
    if payments is None:
        return ()
    return (
        Dependency("payments", payments.reach, seconds=5.0, required=False, fresh_seconds=30.0),
    )


def _mailer(config: Settings) -> SmtpMail | None:
    if config.smtp_url is None:
        return None
    assert config.mail_from is not None
    return SmtpMail(config.smtp_url.get_secret_value(), config.mail_from)


def _alerts(config: Settings) -> AlertWebhook | None:
    if config.alert_webhook_url is None:
        return None
    secret = config.alert_webhook_secret
    return AlertWebhook(
        config.alert_webhook_url.get_secret_value(),
        secret.get_secret_value() if secret is not None else None,
        app=config.app_name,
    )
