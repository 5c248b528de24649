"""Reads what came over the wire into what an operation takes, by the SDK's own types of parameters.

The SDK is open where it has to survive values of tomorrow (`Literal[…] | str`). The reader is not:
a misspelt value is an error here, as it is at Stripe.
"""

import types
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Literal, NotRequired, Required, Union, cast, get_args, get_origin

from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject
from typing_extensions import get_type_hints, is_typeddict

from devstack.stripe_fake.errors import PaymentsError, missing_param

# Parameters of a call of the SDK, which it sends as headers.
OPTIONS = frozenset(RequestOptions.__annotations__)
# Names in the types of those options, which the modules of parameters don't know.
UNSEEN = {"StripeContext": object, "Mapping": Mapping}
MOST_DECIMAL_PLACES = 12


def read(kind: Any, value: Any, param: str = "") -> Any:
    """`value`, decoded from a form or from JSON, as the type says. An empty text becomes None.

    Decimals stay texts, as Stripe writes them. Raises `PaymentsError` with the parameter's name.
    """
    if is_typeddict(kind):
        return _read_object(kind, value, param)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(get_args(kind), value, param)
    if origin is Literal:
        return _read_choice(get_args(kind), value, param)
    if origin is list:
        return _read_list(get_args(kind)[0], value, param)
    if origin is dict:
        return _read_mapping(get_args(kind)[1], value, param)
    return _read_scalar(kind, value, param)


def _read_object(kind: Any, value: Any, param: str) -> dict[str, Any]:
    given = _require_mapping(value, param)
    fields = _fields(kind)
    for name in given:
        if name not in fields:
            unknown = _inside(param, name)
            raise PaymentsError(
                f"Received unknown parameter: {unknown}", code="parameter_unknown", param=unknown
            )
    for name, (_, required) in fields.items():
        if required and name not in given:
            raise missing_param(_inside(param, name))
    return {name: read(fields[name][0], each, _inside(param, name)) for name, each in given.items()}


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Name to type, and whether it has to be there."""
    fields: dict[str, tuple[Any, bool]] = {}
    for name, hint in get_type_hints(kind, localns=UNSEEN, include_extras=True).items():
        if name in OPTIONS:
            continue
        required = get_origin(hint) is not NotRequired
        bare = get_args(hint)[0] if get_origin(hint) in (NotRequired, Required) else hint
        fields[name] = (bare, required)
    return fields


def _read_union(members: tuple[Any, ...], value: Any, param: str) -> Any:
    choices = [c for m in members if get_origin(m) is Literal for c in get_args(m)]
    others = [
        m
        for m in members
        if get_origin(m) not in (Literal, UntypedStripeObject) and m is not type(None)
    ]
    if value in choices:
        return value or None
    if [choice for choice in choices if choice] and others == [str]:
        return _read_choice(tuple(choices), value, param)
    if not others:
        return _read_choice(tuple(choices), value, param)
    structured = isinstance(value, Mapping | list)
    fitting = [m for m in others if _is_structured(m) == structured] or others
    for candidate in fitting[:-1]:
        try:
            return read(candidate, value, param)
        except PaymentsError:
            continue
    return read(fitting[-1], value, param)


def _is_structured(kind: Any) -> bool:
    return is_typeddict(kind) or get_origin(kind) in (list, dict)


def _read_choice(choices: tuple[Any, ...], value: Any, param: str) -> Any:
    for choice in choices:
        if value == choice or (isinstance(choice, bool) and value == str(choice).lower()):
            return choice
    known = [str(choice) for choice in choices if choice != ""]
    listed = f"{', '.join(known[:-1])}, or {known[-1]}" if len(known) > 1 else "".join(known)
    raise PaymentsError(f"Invalid {param}: must be one of {listed}", param=param)


def _read_list(kind: Any, value: Any, param: str) -> list[Any] | None:
    if value == "":
        return None
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value)
        if not all(name.isdigit() for name in pairs):
            raise PaymentsError("Invalid array", param=param)
        items = [pairs[name] for name in sorted(pairs, key=int)]
    elif isinstance(value, list):
        items = cast("list[Any]", value)
    else:
        raise PaymentsError("Invalid array", param=param)
    return [read(kind, item, f"{param}[{index}]") for index, item in enumerate(items)]


def _read_mapping(kind: Any, value: Any, param: str) -> dict[str, Any]:
    given = _require_mapping(value, param)
    return {name: read(kind, each, _inside(param, name)) for name, each in given.items()}


def _require_mapping(value: Any, param: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PaymentsError("Invalid object", param=param)
    return cast("Mapping[str, Any]", value)


def _read_scalar(kind: Any, value: Any, param: str) -> Any:
    if isinstance(value, Mapping | list):
        raise PaymentsError(f"Invalid {_word(kind)}", param=param)
    if kind is str:
        return str(value) or None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text == "":
        raise PaymentsError(
            f"You passed an empty string for '{param}'. We assume empty values are an attempt to "
            f"unset a parameter; however '{param}' cannot be unset.",
            code="parameter_invalid_empty",
            param=param,
        )
    if kind is bool:
        if text not in ("true", "false"):
            raise PaymentsError(f"Invalid boolean: {text}", param=param)
        return text == "true"
    if kind is int:
        if not text.removeprefix("-").isdecimal():
            raise PaymentsError(
                f"Invalid integer: {text}", code="parameter_invalid_integer", param=param
            )
        return int(text)
    if kind in (Decimal, float):
        return _read_decimal(text, param)
    raise TypeError(f"no reader for {kind!r}")


def _read_decimal(text: str, param: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > MOST_DECIMAL_PLACES:
        raise PaymentsError(f"Invalid decimal: {text}", param=param)
    return f"{number.normalize():f}"


def _word(kind: Any) -> str:
    return {int: "integer", bool: "boolean", str: "string"}.get(kind, "value")


def _inside(param: str, name: str) -> str:
    return f"{param}[{name}]" if param else name
