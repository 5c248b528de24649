"""Builds what chat offers: first the models on sale, then the life of a reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from aisaas.accounts.ports import Limiter
from aisaas.billing.build import BillingServices
from aisaas.billing.plans.terms import Plan, extra_usage
from aisaas.chat.catalogue import Catalogue, Known, added_line, load_catalogue
from aisaas.chat.circuits import Circuits
from aisaas.chat.conversations import Conversations
from aisaas.chat.export import Export
from aisaas.chat.guards import AdmissionContext
from aisaas.chat.live_catalogue import LiveCatalogue
from aisaas.chat.ports import LanguageModel, ReplyLog
from aisaas.chat.rates import Rates
from aisaas.chat.recover import Recovery
from aisaas.chat.reply import ReplyParts
from aisaas.chat.running import RunningReplies
from aisaas.chat.send import Chat, ChatParts
from aisaas.chat.settle import Settler
from aisaas.chat.tick import Tick
from aisaas.chat.token_ratios import TokenRatios
from aisaas.controls.lineup import ModelSource
from aisaas.db.build import Databases
from aisaas.observe.draining import Draining
from aisaas.settings import Settings
from aisaas.signals import Signals


@dataclass(frozen=True)
class Models:
    """The models on sale. Admins add and change some: `model_source` reads those."""

    catalogue: Catalogue
    live_catalogue: LiveCatalogue
    model_source: ModelSource

    def switch_scopes(self) -> list[str]:
        """What a kill switch can be for, as far as it is about models."""
        return [
            *(f"provider:{provider}" for provider in self.catalogue.providers),
            *(f"model:{line.id}" for line in self.catalogue.present),
        ]


def models(
    config: Settings, sold: Mapping[str, Plan], databases: Databases, model: LanguageModel
) -> Models:
    """
    Raises:
        ConfigurationError: the catalogue is unfit.
    """
    known = Known(model.price_of, model.reasoning_of, model.facts_of)
    catalogue = load_catalogue(
        config, model.price_of, tuple(sold), model.reasoning_of, model.facts_of
    )
    source = ModelSource(catalogue.lines, lambda row: added_line(row, config, known, sold))
    return Models(catalogue, LiveCatalogue(catalogue, databases.service, source), source)


@dataclass(frozen=True)
class ChatServices:
    conversations: Conversations
    export: Export
    admission: AdmissionContext
    chat: Chat
    running: RunningReplies
    recovery: Recovery


def build(
    config: Settings,
    sold: Mapping[str, Plan],
    databases: Databases,
    on_sale: Models,
    billing: BillingServices,
    *,
    model: LanguageModel,
    limiter: Limiter,
    log: ReplyLog,
    signals: Signals,
    circuits: Circuits,
    draining: Draining,
    ended: Callable[[Collection[UUID]], AsyncGenerator[UUID]],
) -> ChatServices:
    """Args: `ended` are those of some sessions that are over."""
    service, user = databases.service, databases.user
    attempted = billing.provider_health.record
    ratios = TokenRatios(service)
    settler = Settler(
        service,
        model.count_tokens,
        lambda plan: extra_usage(sold, plan),
        ratios,
        losses_to_webhook=config.alert_webhook_url is not None,
    )
    reply_parts = ReplyParts(
        settler=settler,
        model=model,
        log=log,
        tick=Tick(log),
        first_token_seconds=config.first_token_timeout_seconds,
        thinking_seconds=config.thinking_timeout_seconds,
        token_gap_seconds=config.token_gap_timeout_seconds,
        circuits=circuits,
        attempted=attempted,
    )
    running = RunningReplies(reply_parts, billing.quota, signals, draining)
    admission = AdmissionContext(
        user=user,
        quota=billing.quota,
        rates=Rates(limiter),
        catalogue=on_sale.catalogue,
        live=on_sale.live_catalogue,
        count_tokens=model.count_tokens,
        ratios=ratios,
        max_message_chars=config.max_message_chars,
        max_reply_tokens=config.max_reply_tokens,
    )
    return ChatServices(
        conversations=Conversations(user),
        export=Export(user),
        admission=admission,
        chat=Chat(
            ChatParts(
                admission,
                user,
                settler,
                model,
                log,
                running,
                refusals=billing.refusals,
                circuits=circuits,
                attempted=attempted,
                ended=ended,
            )
        ),
        running=running,
        recovery=Recovery(
            service,
            log,
            on_sale.catalogue,
            settler,
            running_here=lambda message_id: running.get(message_id) is not None,
        ),
    )
