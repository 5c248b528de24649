"""What puts the services together."""

from __future__ import annotations

from aisaas.wiring import Services


def test_services_are_not_printed_with_what_is_in_them(services: Services) -> None:
    assert repr(services).startswith("<aisaas.wiring.Services object")
