"""An operation of the API: its path, its parameters and its handler."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devstack.stripe_fake.books import Books, Object
from devstack.stripe_fake.errors import PaymentsError, missing_resource

FEWEST, USUAL, MOST = 1, 10, 100
PAGING = ("limit", "starting_after")


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

    `handler` runs inside a transaction, and an exception rolls it back. Only one call per `lane` is
    admitted at a time; the others are refused with 429.
    """

    method: str
    path: str
    params: Any
    handler: Handler
    lane: Callable[[Call], str | None] = lambda _: None


def retrieving(path: str, params: Any, kind: str, param: str = "id") -> Operation:
    """Reads one object by its id; a refusal names it as `param`."""

    def retrieve(call: Call) -> Object:
        (given,) = call.path.values()
        return call.books.need(kind, given, param)

    return Operation("GET", path, params, retrieve)


def listing(path: str, params: Any, kind: str, *fields: str) -> Operation:
    """Lists objects of a kind; a parameter of one of these fields picks those that have its value."""

    def list_all(call: Call) -> Object:
        given = only(call, *fields, *PAGING)
        equal = {name: given[name] for name in fields if name in given}
        return page(call, call.books.all(kind, **equal), path)

    return Operation("GET", path, params, list_all)


def page(call: Call, found: Sequence[Object], url: str) -> Object:
    """One page of the results, newest first, by `limit` and `starting_after`.

    `found` is in the order of creation, as `Books.all` gives it.
    """
    limit, after = call.params.get("limit", USUAL), call.params.get("starting_after")
    if not FEWEST <= limit <= MOST:
        raise PaymentsError(
            f"Invalid integer: limit must be between {FEWEST} and {MOST}",
            code="parameter_invalid_integer",
            param="limit",
        )
    ordered = list(reversed(found))
    if after:
        ordered = ordered[_place(ordered, after) + 1 :]
    return listed(ordered[:limit], url, more=len(ordered) > limit)


def listed(data: Sequence[Object], url: str, *, more: bool = False) -> Object:
    return {"object": "list", "data": list(data), "has_more": more, "url": url}


def _place(ordered: Sequence[Object], given: str) -> int:
    for index, obj in enumerate(ordered):
        if obj["id"] == given:
            return index
    raise missing_resource("object", given, "starting_after")


def merged_metadata(
    former: Mapping[str, str], given: Mapping[str, str | None] | None
) -> dict[str, str]:
    """Metadata after an update: None in it removes a key, None for it removes all."""
    if given is None:
        return {}
    return {name: value for name, value in {**former, **given}.items() if value is not None}


def change(call: Call, obj: Object, values: Mapping[str, Any], event: str | None = None) -> Object:
    """Put `values` into a stored object, and emit an event if that changes anything."""
    previous = {name: obj.get(name) for name, value in values.items() if obj.get(name) != value}
    obj |= values
    call.books.save(obj)
    if previous and event:
        call.books.emit(event, obj, previous)
    return obj


def only(call: Call, *names: str) -> Mapping[str, Any]:
    """The parameters, if the fake knows what to do with each; else `PaymentsError`."""
    check_known(call.params, names)
    return call.params


def check_known(given: Mapping[str, Any], names: Collection[str], param: str = "") -> None:
    """Stripe accepts more than the product needs; refuse parameters that aren't implemented
    here."""
    for name in given:
        if name not in names:
            raise not_done(f"{param}[{name}]" if param else name)


def not_done(param: str) -> PaymentsError:
    return PaymentsError(
        f"The Stripe fake does not implement the parameter {param} here.", param=param
    )
