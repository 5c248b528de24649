"""A reply on its way to a tab: whole, in order, in frames that Reflex itself would send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from reflex.state import StateUpdate
from reflex_base.constants.state import FIELD_MARKER
from reflex_base.utils.format import json_dumps
from socketio.packet import EVENT, Packet

from aisaas.ui.chat.stream import Tail, frame_around
from aisaas.ui.events import NAMESPACE

TEXTS = ["plain", "", 'quotes " and \\ and \n', "ümläut 漢字 👩‍👩‍👧‍👦🇫🇷", "\u2028 </script>"]


def sent_by_reflex(delta: dict[str, Any]) -> str:
    """The packet that Reflex's own server makes of a delta."""
    update = json.loads(json_dumps(StateUpdate(delta=delta)))
    return str(Packet(EVENT, data=["event", update], namespace=NAMESPACE).encode())


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("var", ["s", "t"])
def test_a_frame_says_what_reflex_would_say(var: str, text: str) -> None:
    before, after = frame_around(var, "0123abcd")
    frame = f"{before}7,{json.dumps(text, ensure_ascii=False)}{after}"
    window = {f"{var}{FIELD_MARKER}": ["0123abcd", 7, text]}
    packet, theirs = (
        Packet(encoded_packet=frame),
        Packet(encoded_packet=sent_by_reflex({Tail.get_full_name(): window})),
    )
    assert (packet.packet_type, packet.namespace) == (EVENT, NAMESPACE)
    name, update = packet.data or (None, {})
    their_name, their_update = theirs.data or (None, {})
    assert name == their_name
    assert update["delta"] == their_update["delta"]
    assert {key: value for key, value in their_update.items() if value} == update
