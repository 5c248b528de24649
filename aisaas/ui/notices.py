"""Refusals and surprises, as the user sees them.

Every handler goes through `handle_errors`: a refusal becomes a notice with its code, sentence and time to
come back; anything else is logged and becomes `internal_error`. Nothing the user typed is touched.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import reflex as rx
from reflex_base.constants.state import FIELD_MARKER
from reflex_base.event.context import EventContext

from aisaas.errors import (
    CapReached,
    DependencyError,
    InternalError,
    Overloaded,
    QuotaExceeded,
    Refusal,
    Suspended,
    TooSlow,
    Unauthenticated,
    Unavailable,
)
from aisaas.observe import context
from aisaas.observe.tracing import span
from aisaas.overload import as_overload
from aisaas.ui import payloads, routes
from aisaas.wiring import services

log = logging.getLogger(__name__)

P = ParamSpec("P")
S = TypeVar("S", bound=rx.State)

SIGN_IN = "Sign in"
# Of a refusal that doesn't know which attempt it is the answer to; the composer knows it too.
ANY_ATTEMPT = "*"
_telling: set[asyncio.Task[None]] = set()
# While a page loads, the browser retries these automatically.
PASSING = (Unavailable, Overloaded, TooSlow, InternalError)
# A link out of some refusals: code to address and label.
WAYS_OUT = {
    Unauthenticated.code: (routes.LOGIN, SIGN_IN),
    QuotaExceeded.code: (routes.BILLING, "See plans"),
    CapReached.code: (routes.BILLING, "Change your spending cap"),
}


@dataclasses.dataclass(frozen=True)
class RefusalView:
    """`nonce` names the attempt that was refused, so that the composer knows it is its own."""

    code: str = ""
    sentence: str = ""
    retry_at: str = ""
    nonce: str = ""
    href: str = ""
    action: str = ""
    # The page is not loaded yet; the browser retries automatically.
    again: bool = False


def refusal_view(refusal: Refusal, *, nonce: str = "", path: str = routes.CHAT) -> RefusalView:
    href, action = WAYS_OUT.get(refusal.code, ("", ""))
    return RefusalView(
        code=refusal.code,
        sentence=refusal.sentence,
        retry_at=refusal.retry_at.isoformat() if refusal.retry_at else "",
        nonce=nonce,
        href=routes.login_for(path) if href == routes.LOGIN else href,
        action=action,
    )


class Notices(rx.State):
    """The one refusal in view."""

    refusal: RefusalView = RefusalView()

    @rx.event
    def dismiss(self) -> None:
        self.refusal = RefusalView()


async def show(
    state: rx.State, refusal: Refusal, nonce: object = "", *, again: bool = False
) -> None:
    notices = await state.get_state(Notices)
    view = refusal_view(refusal, nonce=payloads.echoed(nonce), path=state.router.url.path)
    notices.refusal = dataclasses.replace(view, again=again)


async def clear(state: rx.State) -> None:
    notices = await state.get_state(Notices)
    # Even when there is none here: the browser may show one that no state received.
    notices.refusal = RefusalView()


async def clear_of(state: rx.State, code: str) -> None:
    """Clear a refusal whose reason no longer applies."""
    if (await state.get_state(Notices)).refusal.code == code:
        await clear(state)


def handle_errors(
    handler: Callable[Concatenate[S, P], Awaitable[Any]],
) -> Callable[Concatenate[S, P], Awaitable[Any]]:
    """Show what `handler` raises. A `nonce` argument of the handler travels with the refusal."""

    @functools.wraps(handler)
    async def with_notices(self: S, *args: P.args, **kwargs: P.kwargs) -> Any:
        with _event(handler):
            try:
                async with services().bulkheads.events.place():
                    return await handler(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the user sees a message, the log has the rest
                await show(self, _as_refusal(error, handler), kwargs.get("nonce"))
            return None

    return with_notices


def handle_background_errors(
    handler: Callable[Concatenate[S, P], Awaitable[Any]],
) -> Callable[Concatenate[S, P], Awaitable[Any]]:
    """The same for a task that doesn't hold the state's lock."""

    @functools.wraps(handler)
    async def with_notices(self: S, *args: P.args, **kwargs: P.kwargs) -> Any:
        with _event(handler):
            try:
                return await handler(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the user sees a message, the log has the rest
                refusal = _as_refusal(error, handler)
                async with self:
                    await show(self, refusal)
            return None

    return with_notices


@contextmanager
def _event(handler: Callable[..., Any]) -> Generator[None]:
    """What the browser asked for: a name in the log, and where a trace begins."""
    with context.entered(request=context.new_request()), span(f"event {handler.__qualname__}"):
        yield


def _as_refusal(error: Exception, handler: Callable[..., Any]) -> Refusal:
    if isinstance(error, DependencyError | Unavailable) and (busy := as_overload(error)):
        return busy
    if isinstance(error, Unavailable):
        # The user did nothing wrong, so log what was unavailable.
        log.warning("%s: unavailable: %s", handler.__qualname__, error.__cause__ or error)
    if isinstance(error, Refusal):
        return error
    if isinstance(error, DependencyError):
        log.warning("%s: unavailable: %s", handler.__qualname__, error)
        return Unavailable()
    log.error("%s failed", handler.__qualname__, exc_info=error)
    return InternalError()


def handle_load_errors(
    handler: Callable[Concatenate[S, P], Awaitable[Any]],
) -> Callable[Concatenate[S, P], Awaitable[Any]]:
    """For the handler that loads a protected page: without a session, go and sign in, then return."""

    @functools.wraps(handler)
    async def or_sign_in(self: S, *args: P.args, **kwargs: P.kwargs) -> Any:
        with _event(handler):
            try:
                async with services().bulkheads.events.place():
                    return await handler(self, *args, **kwargs)
            except Unauthenticated:
                return rx.redirect(routes.login_for(self.router.url.path), replace=True)
            except Suspended:
                return rx.redirect(routes.SUSPENDED, replace=True)
            except Exception as error:  # noqa: BLE001 - the user sees a message, the log has the rest
                refusal = _as_refusal(error, handler)
                await show(self, refusal, again=isinstance(refusal, PASSING))
            return None

    return or_sign_in


def unexpected(exception: Exception) -> None:
    """What no handler showed. Reflex's own answer would be a script, which our policy forbids."""
    log.error("an event failed outside its handler", exc_info=exception)
    # Without Redis there is no state to write to, but the tab's socket is here.
    view = dataclasses.replace(refusal_view(Unavailable()), nonce=ANY_ATTEMPT)
    delta = {Notices.get_full_name(): {f"refusal{FIELD_MARKER}": dataclasses.asdict(view)}}
    telling = asyncio.create_task(EventContext.get().emit_delta(delta))
    _telling.add(telling)
    telling.add_done_callback(_telling.discard)
