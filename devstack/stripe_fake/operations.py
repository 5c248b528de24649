"""What an operation of the API is: where it is reached, what it takes, and who does it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_resource

FEWEST, USUAL, MOST = 1, 10, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, read and admitted. `params` has no `expand`; None in it means to unset."""

    books: Books
    key: str = field(repr=False)
    base_url: str
    path: Mapping[str, str]
    params: Mapping[str, Any]


Handler = Callable[[Call], Object]


@dataclass(frozen=True, slots=True)
class Operation:
    """`params` is a TypedDict of the SDK, `path` as in its source.

    `handler` runs inside a transaction, and what it raises undoes it. Of the calls with the same
    `lane` only one is admitted at a time, and the others are refused with 429.
    """

    method: str
    path: str
    params: Any
    handler: Handler
    lane: Callable[[Call], str | None] = lambda _: None


def page(call: Call, found: Sequence[Object], url: str) -> Object:
    """One page of what was found, newest first, by `limit`, `starting_after`, `ending_before`.

    `found` is in the order of creation, as `Books.all` gives it; `created` filters it if given.
    """
    newest_first = [obj for obj in reversed(found) if _within(obj, call.params.get("created"))]
    return page_of(call, newest_first, url)


def page_of(call: Call, ordered: Sequence[Object], url: str) -> Object:
    """One page of what is in order already."""
    limit = call.params.get("limit", USUAL)
    if not FEWEST <= limit <= MOST:
        raise PaymentsError(
            f"Invalid integer: limit must be between {FEWEST} and {MOST}",
            code="parameter_invalid_integer",
            param="limit",
        )
    after, before = call.params.get("starting_after"), call.params.get("ending_before")
    if after:
        ordered = ordered[_place(ordered, after, "starting_after") + 1 :]
        data, more = ordered[:limit], len(ordered) > limit
    elif before:
        ordered = ordered[: _place(ordered, before, "ending_before")]
        data, more = ordered[-limit:], len(ordered) > limit
    else:
        data, more = ordered[:limit], len(ordered) > limit
    return {"object": "list", "data": list(data), "has_more": more, "url": url}


def _place(ordered: Sequence[Object], given: str, param: str) -> int:
    for index, obj in enumerate(ordered):
        if obj["id"] == given:
            return index
    raise missing_resource("object", given, param)


def _within(obj: Object, created: Any) -> bool:
    if created is None:
        return True
    at = obj["created"]
    if isinstance(created, int):
        return at == created
    checks = {"gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    return all(checks[name](bound) for name, bound in created.items())


def merged_metadata(
    former: Mapping[str, str], given: Mapping[str, str | None] | None
) -> dict[str, str]:
    """Metadata after an update: None in it removes a key, None for it removes all."""
    if given is None:
        return {}
    return {name: value for name, value in {**former, **given}.items() if value is not None}


def change(call: Call, obj: Object, values: Mapping[str, Any]) -> Object:
    """Put `values` into a stored object; what they were before, for the event's `previous`."""
    previous = {name: obj.get(name) for name, value in values.items() if obj.get(name) != value}
    obj.update(values)
    call.books.save(obj)
    return previous


def only(call: Call, *names: str) -> Mapping[str, Any]:
    """The parameters, if the counterpart knows what to do with each; else `PaymentsError`.

    Stripe takes more than the product needs; what is not done here must not look as if it were.
    """
    for name in call.params:
        if name not in names:
            raise PaymentsError(
                f"The stand-in for Stripe does not implement the parameter {name} here.",
                param=name,
            )
    return call.params
