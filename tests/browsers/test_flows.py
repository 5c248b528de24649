"""What people do most, in Firefox and WebKitGTK."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from devstack.stack import Stack
from tests.browsers.conftest import sign_up
from tests.browsers.screens import Screen, button, field, saying, until
from tests.ui.conftest import PASSWORD, grant_admin, serving

REPLY = "//article[@data-role='assistant']"
EMAIL = "//*[contains(@class, 'account-email')]"
ROW = "//nav[@aria-label='Conversations']//a"

pytestmark = [
    pytest.mark.timeout(400),
    # Selenium's own way to reach a driver.
    pytest.mark.filterwarnings("ignore:setting remote_server_addr:DeprecationWarning"),
]


def ends(screen: Screen, status: str) -> None:
    last = f"({REPLY})[last()]"
    until(lambda: screen.attribute(last, "data-status") == status, f"a reply that is {status}")


def ask(screen: Screen, text: str) -> None:
    before = screen.count(REPLY)
    screen.fill(field("Message"), text)
    screen.click(button("Send"))
    until(lambda: screen.count(REPLY) == before + 1, "a reply")


def test_a_message_is_answered_piece_by_piece(member: Screen) -> None:
    ask(member, "long 60 speed 20")
    lengths: set[int] = set()
    while member.attribute(REPLY, "data-status") == "streaming":
        lengths.add(len(member.text(REPLY)))
        time.sleep(0.1)
    ends(member, "done")
    assert len(lengths) > 5
    until(lambda: member.attribute(field("Message"), "value") == "", "an empty box")


def test_someone_signs_out_and_in_again(member: Screen, url: str) -> None:
    email = member.attribute(EMAIL, "textContent")
    member.click(button("Account"))
    member.click(button("Sign out"))
    until(lambda: member.address() != f"{url}/chat", "the end of the session")
    member.open(f"{url}/login?redirectTo=/chat")
    member.fill(field("Email"), email)
    member.fill(field("Password"), PASSWORD)
    member.click(button("Sign in"))
    until(lambda: member.count(field("Message")), "the composer")


def test_markdown_is_drawn(member: Screen) -> None:
    ask(member, "table")
    ends(member, "done")
    until(lambda: member.count(f"{REPLY}//table//td"), "a table")
    ask(member, "code")
    ends(member, "done")
    until(lambda: member.count(f"{REPLY}//pre//span"), "colored code")
    until(lambda: member.count(button("Copy code")), "a way to copy it")


def test_a_reply_is_stopped_and_asked_for_again(member: Screen) -> None:
    ask(member, "long 2000 speed 40")
    until(lambda: "A long answer" in member.text(REPLY), "the first words")
    member.click(button("Stop"))
    ends(member, "stopped")
    member.click(button("Retry"))
    until(lambda: member.count(REPLY) == 2, "another reply")
    until(lambda: member.count(button("Stop")), "a way to stop it")
    member.click(button("Stop"))
    ends(member, "stopped")


def test_a_reload_in_the_middle_loses_nothing(member: Screen) -> None:
    ask(member, "long 150 speed 30")
    until(lambda: "A long answer" in member.text(REPLY), "the first words")
    until(lambda: "/chat/" in member.address(), "an address")
    seen = member.text(f"{REPLY}/div")[:40]
    member.reload()
    until(lambda: seen in member.text(REPLY), "what was there")
    ends(member, "done")


def test_conversations_are_renamed_and_deleted(member: Screen) -> None:
    ask(member, "long 8 speed 0")
    ends(member, "done")
    until(lambda: member.text(ROW) not in {"", "New Conversation"}, "a title")
    member.hover(ROW)
    member.click(button("Rename"))
    member.fill(field("New title"), "About tables\n")
    until(lambda: member.text(ROW) == "About tables", "the new title")
    member.hover(ROW)
    member.click(button("Delete"))
    until(lambda: member.count(ROW) == 0, "an empty list")
    member.click(button("Undo"))
    until(lambda: member.text(ROW) == "About tables", "what was deleted")
    member.click(button("New chat"))
    until(lambda: member.count("//article") == 0, "an empty page")


def test_settings_are_saved(member: Screen, url: str) -> None:
    member.open(f"{url}/settings")
    until(lambda: member.attribute(field("Name"), "value") == "Ada Lovelace", "the name")
    member.fill(field("Name"), "Ada King")
    member.click(button("Save name"))
    until(lambda: member.count(saying("Saved")), "that it is saved")
    member.reload()
    until(lambda: member.attribute(field("Name"), "value") == "Ada King", "the new name")


def test_usage_is_charted(member: Screen, url: str) -> None:
    ask(member, "long 8 speed 0")
    ends(member, "done")
    member.open(f"{url}/dashboard")
    until(lambda: member.count("//*[contains(@class, 'chart-day')]"), "the chart")
    meter = "//*[@role='meter'][@aria-label='Tokens used']"
    until(lambda: int(member.attribute(meter, "aria-valuenow") or 0) > 0, "tokens used")


def test_a_plan_is_paid_for(member: Screen, url: str) -> None:
    member.open(f"{url}/billing")
    member.click(button("Start free trial"))
    until(lambda: "/checkout/cs_" in member.address(), "Checkout")
    member.fill(field("Card number"), "4242424242424242")
    member.fill(field("Expires (MM/YY)"), "12/99")
    member.fill(field("CVC"), "123")
    member.fill(field("Name on card"), "Ada Lovelace")
    member.click(button("Start trial"))
    until(lambda: member.count(saying("You're on Pro")), "the plan")


def test_an_admin_stops_calls_in_a_dialog(member: Screen, url: str, shared_folder: Path) -> None:
    grant_admin(member.attribute(EMAIL, "textContent"), shared_folder)
    member.open(f"{url}/admin/controls")
    dialog, table = "//dialog[@open]", "//table[@aria-label='Stopped calls']"
    member.click(button("Stop calls"))
    until(lambda: member.count(dialog), "the dialog")
    member.choose(field("Stop", dialog), "Plan Business")
    member.fill(field("Reason", dialog), "tried in a browser")
    member.click(button("Stop", dialog))
    until(lambda: "Plan Business" in member.text(table), "what is stopped")
    assert member.count(dialog) == 0
    member.click(button("Resume", table))
    member.fill(field("Reason", dialog), "tried in a browser")
    member.click(button("Resume", dialog))
    until(lambda: member.count(saying("All calls are allowed.")), "that nothing is")


def test_a_network_that_is_gone_for_a_while(
    screen: Screen, front_end: None, stack: Stack, tmp_path: Path
) -> None:
    with serving(tmp_path, stack, app_env="development") as (network, _):
        sign_up(screen, network.url)
        ask(screen, "long 400 speed 40")
        until(lambda: "A long answer" in screen.text(REPLY), "the first words")
        network.refuse()
        until(lambda: screen.count(saying("You're offline")), "that there is no connection")
        before = len(screen.text(REPLY))
        network.restore()
        until(lambda: len(screen.text(REPLY)) > before, "what came meanwhile")
        ends(screen, "done")
