"""Stripe's form encoding: brackets make structures, an empty text unsets."""

import re
from typing import Any, cast
from urllib.parse import parse_qsl

from devstack.stripe_fake.errors import PaymentsError

NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
PART = re.compile(r"\[([^\[\]]*)\]")


def decode(encoded: str) -> dict[str, Any]:
    """`a[b]=1&c[0]=2` as {"a": {"b": "1"}, "c": {"0": "2"}}: what a list is, the reader knows."""
    result: dict[str, Any] = {}
    for name, text in parse_qsl(encoded, keep_blank_values=True):
        match = NAME.fullmatch(name)
        if match is None:
            raise PaymentsError(f"Invalid parameter name: {name}", param=name)
        target = result
        *parents, last = [match[1], *PART.findall(match[2])]
        for parent in parents:
            target = target.setdefault(parent or str(len(target)), {})
            if not isinstance(target, dict):
                raise PaymentsError(f"Invalid object: {name}", param=name)
            target = cast("dict[str, Any]", target)
        target[last or str(len(target))] = text
    return result
