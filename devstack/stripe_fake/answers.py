"""Checks answers and events against the SDK's own types, as `params` does with requests.

A difference is a bug of the fake, and the log names the field. Under test (PAYMENTS_STRICT) the call
fails with 500 and changes nothing; elsewhere it is answered, because objects of an earlier version
may lack newer fields. In the SDK `Optional` means nullable or absent, and lists of values are open
for future ones. Here an unknown value is wrong, as an unknown field is.
"""

import ast
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Literal, TypeVar, Union, cast, get_args, get_origin

from stripe._object_classes import OBJECT_CLASSES, V2_OBJECT_CLASSES
from stripe._stripe_object import StripeObject, UntypedStripeObject
from stripe.events._event_classes import get_v2_event_class
from typing_extensions import get_type_hints

from devstack.serving import log

# All that is answered for a deleted object; the SDK has no class of it.
DELETED = frozenset({"id", "object", "deleted"})
# A page of the v2 API doesn't name its type.
V2_PAGE = "list"

Check = Callable[[Any, str], Iterator[str]]


class WrongAnswerError(Exception):
    """Names the fields that are missing, unknown, or of another type."""


def check(answer: Mapping[str, Any], *, strict: bool) -> None:
    """Raises `WrongAnswerError` if `strict`."""
    wrong = list(_check_object(answer, str(answer.get("object", "page"))))
    if not wrong:
        return
    log("answer differs from the SDK's types", fields=wrong)
    if strict:
        raise WrongAnswerError("; ".join(wrong))


def _check_object(value: Any, path: str) -> Iterator[str]:
    """Check an object by the type that it declares."""
    if not isinstance(value, Mapping):
        yield _not(dict, value, path)
        return
    given = cast("Mapping[str, Any]", value)
    if given.get("deleted"):
        yield from (f"{path}.{name}: wrong when deleted" for name in given.keys() ^ DELETED)
        return
    kind = _class_of(given)
    if kind is None:
        yield f"{path}: the SDK has no {given.get('object')}"
        return
    yield from _checker(kind)(given, path)
    if given.get("object") == "event":
        yield from _check_object(given["data"]["object"], f"{path}.data.object")
        yield from _check_former(given["data"], f"{path}.data.previous_attributes")


def _check_former(data: Mapping[str, Any], path: str) -> Iterator[str]:
    """Fields as they were before an event; fields absent then are null."""
    kind = _class_of(data["object"])
    former: Mapping[str, Any] = data.get("previous_attributes") or {}
    fields: Mapping[str, tuple[Check, bool]] = _fields(kind) if kind else {}
    for name, value in former.items():
        if name not in fields:
            yield f"{path}.{name}: unknown"
        elif value is not None:
            yield from fields[name][0](value, f"{path}.{name}")


def _class_of(given: Mapping[str, Any]) -> Any:
    name = given.get("object", "")
    if name == "v2.core.event":
        return get_v2_event_class(given["type"])
    found = OBJECT_CLASSES.get(name) or V2_OBJECT_CLASSES.get(name or V2_PAGE)
    return getattr(import_module(found[0]), found[1]) if found else None


@cache
def _checker(kind: Any) -> Check:
    """Tells in what a value differs from a type."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind))
    if origin is Literal:
        return _choice(get_args(kind))
    if origin is list:
        return _each(list, get_args(kind)[0])
    if origin in (dict, UntypedStripeObject):
        return _each(dict, get_args(kind)[-1])
    if isinstance(kind, TypeVar) or kind is StripeObject:
        return _check_object
    bare = origin or kind
    if isinstance(bare, type) and issubclass(bare, StripeObject):
        return _object(kind)
    return _scalar(kind)


def _object(kind: Any) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield _not(dict, value, path)
            return
        given, fields = cast("Mapping[str, Any]", value), _fields(kind)
        yield from (f"{path}.{name}: unknown" for name in given if name not in fields)
        for name, (check_field, required) in fields.items():
            if name in given:
                yield from check_field(given[name], f"{path}.{name}")
            elif required:
                yield f"{path}.{name}: missing"

    return check


@cache
def _fields(kind: Any) -> Mapping[str, tuple[Check, bool]]:
    """Name to check, and whether it has to be there. A list names its objects' type."""
    bare, of = get_origin(kind) or kind, get_args(kind)
    hints = get_type_hints(bare, localns=_imports_for_types(bare))
    fields = {
        name: (
            _checker(hint[of] if of and getattr(hint, "__parameters__", ()) else hint),
            type(None) not in get_args(hint),
        )
        for name, hint in hints.items()
        if not name.startswith("_") and get_origin(hint) is not ClassVar
    }
    # The SDK's classes of lists have it as a constant instead.
    own = getattr(kind, "OBJECT_NAME", None)
    return {"object": (_choice((own,)), False), **fields} if own else fields


def _imports_for_types(kind: type) -> dict[str, Any]:
    """Names in the annotations of a class that its module only imports for type checkers."""
    names: dict[str, Any] = {}
    for owner in kind.__mro__:
        module = inspect.getmodule(owner)
        if module is None or not module.__name__.startswith("stripe"):
            continue
        for node in ast.walk(_guarded(module)):
            if isinstance(node, ast.ImportFrom) and ".params" not in str(node.module):
                source = import_module(str(node.module))
                names |= {
                    each.asname or each.name: getattr(source, each.name) for each in node.names
                }
    return names


def _guarded(module: types.ModuleType) -> ast.Module:
    """The code below `if TYPE_CHECKING:`."""
    tree = ast.parse(inspect.getsource(module))
    return ast.Module([node for node in tree.body if isinstance(node, ast.If)], [])


def _union(members: tuple[Any, ...]) -> Check:
    choices = [
        choice for each in members if get_origin(each) is Literal for choice in get_args(each)
    ]
    others = [m for m in members if get_origin(m) is not Literal and m is not type(None)]
    if choices and others == [str]:
        others = []
    checks = [_checker(each) for each in others] + ([_choice(tuple(choices))] if choices else [])

    def check(value: Any, path: str) -> Iterator[str]:
        if value is None and type(None) in members:
            return
        tried: list[list[str]] = []
        for each in checks:
            tried.append(list(each(value, path)))
            if not tried[-1]:
                return
        # For a value that may be an id or an object, a mapping was meant to be the object.
        yield from tried[-1 if isinstance(value, Mapping) else 0]

    return check


def _choice(choices: tuple[Any, ...]) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if value not in choices:
            yield f"{path}: not one of {', '.join(map(str, choices))}"

    return check


def _each(kind: type, item: Any) -> Check:
    check_item = _checker(item)

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, kind):
            yield _not(kind, value, path)
            return
        pairs = cast("Any", value.items() if isinstance(value, dict) else enumerate(value))
        for name, each in pairs:
            yield from check_item(each, f"{path}.{name}")

    return check


def _scalar(kind: Any) -> Check:
    if kind in (Any, object):
        return lambda _value, _path: iter(())

    def check(value: Any, path: str) -> Iterator[str]:
        fits = type(value) in ((int, float) if kind is float else (kind,))
        if kind is Decimal:
            fits = isinstance(value, str) and _is_decimal(value)
        if not fits:
            yield _not(kind, value, path)

    return check


def _not(kind: type, value: Any, path: str) -> str:
    """Without the value, which may be someone's name or address."""
    return f"{path}: {type(value).__name__} instead of {kind.__name__}"


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False
