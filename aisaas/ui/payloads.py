"""What a browser sends, checked. Any client can call any handler with anything.

Each reader raises a refusal that the user would also get for an honest mistake.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, cast
from uuid import UUID

from pydantic import StringConstraints, TypeAdapter, ValidationError

from aisaas.db.paging import Cursor, Moment
from aisaas.errors import BillingInvalid, MessageInvalid, ModelUnavailable, NameInvalid, NotFound
from aisaas.language_models import Effort

# Far above any offset of a stored reply, far below what would hurt.
MAX_OFFSET = 10_000_000
MAX_SEARCH = 200
MAX_TITLE = 120

EFFORTS: tuple[Effort, ...] = ("none", "low", "medium", "high")
# Not more digits than `Checkout.set_cap` could take; it knows the bound.
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?")
_UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")
_NONCE = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_USD = re.compile(r"\d{1,7}(?:\.\d{1,2})?", re.ASCII)
_id = TypeAdapter[UUID](UUID)
_offset = TypeAdapter[int](int)
_text = TypeAdapter[str](str)
_name = TypeAdapter[str](Annotated[str, StringConstraints(min_length=1, max_length=120)])


def identifier(value: object) -> UUID:
    try:
        return _id.validate_python(value)
    except ValidationError:
        raise NotFound from None


def identifier_or_new(value: object) -> UUID | None:
    """None for a conversation that doesn't exist yet."""
    return None if value in ("", None) else identifier(value)


def conversation_cursor(value: object) -> Moment:
    """`<moment>/<id>`, as `view.list_view` wrote it."""
    moment, _, row = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise NotFound
        return Cursor(at.astimezone(UTC), identifier(row))
    except (ValueError, OverflowError):
        raise NotFound from None


def offset(value: object) -> int:
    try:
        return min(max(_offset.validate_python(value, strict=True), 0), MAX_OFFSET)
    except ValidationError:
        return 0


def message_text(value: object) -> str:
    """What of it can be sent, the guards decide, and say."""
    if not isinstance(value, str):
        raise MessageInvalid
    return value


def title(value: object) -> str:
    """`Conversations.rename` decides which text is allowed."""
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= MAX_TITLE:
        raise MessageInvalid("Enter a title of 1 to 120 characters.")
    return value.strip()


def model_id(value: object) -> str:
    try:
        found = _name.validate_python(value)
    except ValidationError:
        raise ModelUnavailable from None
    if not found.isprintable():
        raise ModelUnavailable
    return found


def effort(value: object) -> Effort | None:
    """Empty leaves it to the model. Whether the model takes it, the guards decide."""
    if value == "":
        return None
    found: Effort | None = next((each for each in EFFORTS if each == value), None)
    if found is None:
        raise MessageInvalid("Choose one of the listed levels of thinking.")
    return found


def full_name(value: object) -> str:
    """`Accounts.rename` decides which length and characters are allowed."""
    try:
        return _text.validate_python(value, strict=True)
    except ValidationError:
        raise NameInvalid from None


def plan_id(value: object) -> str:
    """Whether it is sold, `Checkout` knows."""
    try:
        return _name.validate_python(value, strict=True)
    except ValidationError:
        raise BillingInvalid from None


def usd(value: object) -> Decimal:
    """A typed amount of money."""
    typed = value.strip().removeprefix("$").strip() if isinstance(value, str) else ""
    if not _USD.fullmatch(typed):
        raise BillingInvalid("Enter an amount in USD, like 25 or 12.50.")
    return Decimal(typed)


def is_plain_number(typed: str) -> bool:
    """Digits, and a point among them; no sign, no exponent, and not endless."""
    return bool(_NUMBER.fullmatch(typed))


def search(form: object) -> str:
    """What a form's field `search` holds; anything else is no search."""
    words = _field(form, "search")
    if not isinstance(words, str):
        return ""
    return "".join(filter(str.isprintable, words)).strip()[:MAX_SEARCH]


def form_field(form: object, name: str) -> str:
    """What a form's field holds, without what no database stores; nothing when it isn't text."""
    found = _field(form, name)
    return _UNSTORABLE.sub("", found).strip() if isinstance(found, str) else ""


def _field(form: object, name: str) -> object:
    return cast("dict[object, object]", form).get(name) if isinstance(form, dict) else None


def nonce(value: object) -> str:
    """A name the browser gave its attempt; it comes back to that browser only."""
    found = echoed(value)
    if not found and value not in ("", None):
        raise MessageInvalid
    return found


def echoed(value: object) -> str:
    """The same for an answer, which can't be refused: nothing when it isn't such a name."""
    return value if isinstance(value, str) and _NONCE.fullmatch(value) else ""
