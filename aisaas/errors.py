"""What can go wrong, as a tree.

    AisaasError
    ├── ConfigurationError        the environment is not fit to start with
    ├── SchemaBehind              the database lacks migrations of this release
    ├── DependencyError           a part the product stands on did not answer
    │   ├── PoolExhausted         all of our own connections to it are in use; that isn't its fault
    │   ├── ProviderError         the model's provider failed; `retryable` before the first token
    │   ├── PaymentsError         the payment provider didn't say whether something happened
    │   ├── MailError             a mail isn't known to be accepted; it may be tried again
    │   └── AlertError            an alert isn't known to be taken; it may be sent again
    ├── MailRefused               the mail server said no for good
    ├── ModelsChanged             the caller's prices aren't the newest; it looks again
    ├── NoticeUnwritable          a notice lacks what its mail has to say: a bug
    ├── PaymentsRefused           the payment provider said no; asking again doesn't help
    ├── WebhookInvalid            a webhook's body is not from the payment provider
    ├── AuthError                 sign-up, sign-in or account trouble, with a code
    └── Refusal                   an expected "no": a code, a sentence, maybe a time to come back
        ├── Unauthenticated       unauthenticated
        ├── MessageInvalid        message_invalid
        ├── MessageTooLarge       message_too_large
        ├── NameInvalid           name_invalid
        ├── NotFound              not_found
        ├── Suspended             suspended
        ├── SpendingPaused        spending_paused
        ├── ModelUnavailable      model_unavailable
        ├── ModelRetired          model_retired
        ├── RateLimitedMinute     rate_limited_minute
        ├── RateLimitedDay        rate_limited_day
        ├── Busy                  busy
        │   └── Overloaded        busy: more is asked of us than we can do
        ├── QuotaExceeded         quota_exceeded
        ├── CapReached            cap_reached
        ├── BillingInvalid        billing_invalid
        ├── Restarting            restarting
        ├── ActionInvalid         action_invalid
        ├── TooSlow               too_slow: the database answers, and canceled what we asked of it
        ├── InternalError         internal_error: a bug of ours
        └── Unavailable           unavailable: a part the product stands on does not answer

A refusal is shown to the user as it is; an outage is shown as `unavailable`, and anything else is
logged and shown as `internal_error`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import ClassVar

from aisaas.text_cleaning import clean


class AisaasError(Exception):
    """The root of this product's own exceptions."""


class ConfigurationError(AisaasError):
    """The environment is not fit to start with; `problems` has a line for each variable."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SchemaBehind(AisaasError):
    """The database lacks `missing`, migrations of this release."""

    def __init__(self, missing: tuple[str, ...]) -> None:
        self.missing = missing
        super().__init__(
            f"The database lacks {len(missing)} migration{'s' * (len(missing) != 1)} of this "
            f"release ({', '.join(missing)}). Run `python -m aisaas migrate` once, or start with "
            "--migrate."
        )


class DependencyError(AisaasError):
    """A part the product stands on (database, Redis, auth) did not answer."""


class PoolExhausted(DependencyError):
    """All of our own connections to a part are in use. Like an outage for work that is retried later,
    but users see `busy` (`overload.as_overload`)."""


# Kinds of ProviderError that are the operator's matter: nothing gets better by waiting.
KEY_REFUSED = ("AuthenticationError", "PermissionDeniedError")
MODEL_GONE = "NotFoundError"


class ProviderError(DependencyError):
    """The model's provider failed. `kind` is for the log and the metrics, not for the user."""

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind = clean(kind)
        super().__init__(f"{self.kind}: {detail}" if detail else self.kind)


class PaymentsError(DependencyError):
    """The payment provider gave no answer, failed, was overloaded, or refused our key.

    The request may have taken effect or not, unless `undone`: then it certainly has not. `answered`
    when the failure is the provider's own answer, which it may give again to the same idempotency
    key. `retry_after` are seconds, where it said so.
    """

    def __init__(
        self,
        kind: str,
        *,
        retry_after: float | None = None,
        undone: bool = False,
        answered: bool = False,
    ) -> None:
        self.kind = clean(kind)
        self.retry_after = retry_after
        self.undone = undone
        self.answered = answered
        super().__init__(self.kind)


# Ours, beside the provider's own codes: a page of Checkout was paid before it could be closed.
CHECKOUT_PAID = "checkout_paid"


class PaymentsRefused(AisaasError):
    """The payment provider said no. `code` is its own; the message is for the log and admins. Both can
    be stored, whatever it sent."""

    def __init__(self, code: str, message: str) -> None:
        self.code = clean(code)
        self.message = clean(message)
        super().__init__(f"{self.code}: {self.message}")


class MailError(DependencyError):
    """An email isn't known to be accepted, and may be retried.

    `refused` when the server deferred this particular email; otherwise the server is unavailable or
    misconfigured.
    """

    def __init__(self, kind: str, *, refused: bool = False) -> None:
        self.kind = clean(kind)
        self.refused = refused
        super().__init__(self.kind)


class MailRefused(AisaasError):
    """The mail server said no for good. `kind` is for the log and admins."""

    def __init__(self, kind: str) -> None:
        self.kind = clean(kind)
        super().__init__(self.kind)


class AlertError(DependencyError):
    """An alert isn't known to be accepted, and may be sent again.

    `refused` when the server rejected it; otherwise the server is unavailable. `kind` is for the
    log and admins.
    """

    def __init__(self, kind: str, *, refused: bool = False) -> None:
        self.kind = clean(kind)
        self.refused = refused
        super().__init__(f"the alert webhook: {self.kind}")


class ModelsChanged(AisaasError):
    """An admin changed a model meanwhile: the caller has to load the models again first."""


class NoticeUnwritable(AisaasError):
    """A notice of an unknown kind, or without a value that its mail has to say."""


class WebhookInvalid(AisaasError):
    """A body that the payment provider didn't sign, or that isn't in its format."""


class AuthError(AisaasError):
    """The auth server said no, or we did before asking it.

    `code` is its own error code where it has one, `sentence` is for the user; `retry_after` are
    seconds to wait, where waiting helps.
    """

    def __init__(self, code: str, sentence: str, *, retry_after: float | None = None) -> None:
        self.code = code
        self.sentence = sentence
        self.retry_after = retry_after
        super().__init__(f"{code}: {sentence}")


class Refusal(AisaasError):
    """An expected "no". Nothing was consumed by the call that raised it."""

    code: ClassVar[str]
    default: ClassVar[str]

    def __init__(self, sentence: str | None = None, *, retry_at: datetime | None = None) -> None:
        self.sentence = sentence or self.default
        self.retry_at = retry_at
        super().__init__(f"{self.code}: {self.sentence}")


class Unauthenticated(Refusal):
    code = "unauthenticated"
    default = "You're signed out. Sign in to continue."


class MessageInvalid(Refusal):
    code = "message_invalid"
    default = "Your message is empty. Write something and try again."


class MessageTooLarge(Refusal):
    code = "message_too_large"
    default = "Your message is too long. Shorten it or send it in parts."


class NameInvalid(Refusal):
    code = "name_invalid"
    default = "Enter a name of up to 120 characters."


class NotFound(Refusal):
    code = "not_found"
    default = "That conversation doesn't exist, or you don't have access to it."


class Suspended(Refusal):
    code = "suspended"
    default = "Your account is suspended. Contact support."


class SpendingPaused(Refusal):
    code = "spending_paused"
    default = "New replies are paused for now. Your account is fine; try again later."


class ModelUnavailable(Refusal):
    code = "model_unavailable"
    default = "That model isn't available on your plan. Choose another one."


class ModelRetired(Refusal):
    code = "model_retired"
    default = "This model has been retired. Choose another one."


class RateLimitedMinute(Refusal):
    code = "rate_limited_minute"
    default = "You've reached your limit of messages per minute."


class RateLimitedDay(Refusal):
    code = "rate_limited_day"
    default = "You've reached your limit of messages per day."


class Busy(Refusal):
    code = "busy"
    default = "You have too many replies running. Stop one or wait for it to finish."


class Overloaded(Busy):
    """More is asked of this process than it can do. Nothing was done; `retry_after` is in whole
    seconds."""

    default = "We're handling more requests than usual. Try again in a moment."

    def __init__(self, seconds: float) -> None:
        self.retry_after = max(1, ceil(seconds))
        super().__init__(retry_at=datetime.now(UTC) + timedelta(seconds=self.retry_after))


class QuotaExceeded(Refusal):
    code = "quota_exceeded"
    default = "You've used all your tokens for this month."


class CapReached(Refusal):
    code = "cap_reached"
    default = "You've reached your spending cap for this period. Raise it to continue."


class BillingInvalid(Refusal):
    code = "billing_invalid"
    default = "That change isn't possible anymore. Reload the page and try again."


class ActionInvalid(Refusal):
    code = "action_invalid"
    default = "That isn't possible. Reload the page and try again."


class Restarting(Refusal):
    code = "restarting"
    default = "The server is restarting. Your message wasn't sent. Try again in a moment."


class TooSlow(Refusal):
    """The database answers, but this took too long or collided with other work, so it was canceled
    and rolled back. That is ours to mend, and no outage."""

    code = "too_slow"
    default = "This took too long, so it was canceled. Nothing was changed. Try again, or narrow your search."


class InternalError(Refusal):
    """What a surprise is shown as. It is in the log."""

    code = "internal_error"
    default = "Something went wrong on our side, and we've logged it. Try again in a moment."


class Unavailable(Refusal):
    code = "unavailable"
    default = "Something on our side isn't responding. Try again in a moment."
