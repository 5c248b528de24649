"""The transcript follows a running reply until the reader scrolls up, and again from its end on. In a real
Chromium, as a desktop and as a phone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from devstack.chromium import chromium_path
from tests.ui.conftest import SignUp, browsing, signed_up

# Fast enough to fill the view soon, and long enough for what happens then.
RUNNING = "long 3000 speed 120"

pytestmark = pytest.mark.timeout(400)


def stream(page: Page) -> Locator:
    """A reply that runs and is longer than the view, which is at its end; the transcript."""
    page.get_by_role("textbox", name="Message").fill(RUNNING)
    page.get_by_role("button", name="Send").click()
    transcript = page.locator(".transcript")
    page.wait_for_function(
        "() => { const b = document.querySelector('.transcript');"
        " return b.scrollHeight > b.clientHeight + 300; }",
        timeout=90_000,
    )
    expect(page.get_by_role("button", name="Jump to latest")).to_have_count(0)
    return transcript


def grows(page: Page) -> None:
    """Until the reply has grown by several flushes."""
    page.wait_for_function(
        """() => {
          const length = document.querySelector("article[data-status=streaming]").textContent.length;
          window.grownFrom ??= length;
          if (length < window.grownFrom + 200) return false;
          delete window.grownFrom;
          return true;
        }"""
    )


def place(transcript: Locator) -> tuple[float, float]:
    """How far from the top and from the end."""
    return tuple(
        transcript.evaluate("b => [b.scrollTop, b.scrollHeight - b.clientHeight - b.scrollTop]")
    )


def is_at_end(page: Page) -> None:
    """Waits, because text grows between two frames and the view follows with the next one."""
    page.wait_for_function(
        """() => {
          const box = document.querySelector(".transcript");
          return box.scrollHeight - box.clientHeight - box.scrollTop < 2;
        }"""
    )


def by_wheel(page: Page, transcript: Locator) -> None:
    transcript.hover()
    page.mouse.wheel(0, -4)


def by_key(page: Page, transcript: Locator) -> None:
    transcript.focus()
    page.keyboard.press("ArrowUp")


def by_script(page: Page, transcript: Locator) -> None:
    """As everything else that scrolls does: a search in the page, an assistive technology."""
    transcript.evaluate("b => { b.scrollTop -= 4; }")


@pytest.mark.parametrize("up", [by_wheel, by_key, by_script])
def test_any_scroll_up_lets_go_of_the_end_and_reaching_it_follows_again(
    sign_up: SignUp, up: Callable[[Page, Locator], None]
) -> None:
    page = sign_up()
    transcript = stream(page)
    up(page, transcript)
    jump = page.get_by_role("button", name="Jump to latest")
    expect(jump).to_be_visible()
    # Also one that is animated comes to rest.
    page.wait_for_function(
        """() => {
          const top = document.querySelector(".transcript").scrollTop;
          const same = window.lastTop === top;
          window.lastTop = top;
          return same;
        }""",
        polling=200,
    )
    before, _ = place(transcript)
    grows(page)
    after, left = place(transcript)
    assert abs(after - before) < 1
    assert left > 4
    transcript.hover()
    page.mouse.wheel(0, 20_000)
    expect(jump).to_have_count(0)
    grows(page)
    is_at_end(page)
    page.get_by_role("button", name="Stop").click()


def test_a_finger_lets_go_of_the_end(phone: Page) -> None:
    transcript = stream(phone)
    found = transcript.bounding_box()
    assert found
    session = phone.context.new_cdp_session(phone)

    def touch(kind: str, y: float | None = None) -> None:
        points = [] if y is None else [{"x": found["x"] + 100, "y": found["y"] + y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 200)
    for y in range(205, 245, 5):
        touch("touchMove", y)
        phone.wait_for_timeout(20)
    touch("touchEnd")
    expect(phone.get_by_role("button", name="Jump to latest")).to_be_visible()
    before, _ = place(transcript)
    grows(phone)
    assert abs(place(transcript)[0] - before) < 1
    phone.get_by_role("button", name="Jump to latest").tap()
    grows(phone)
    is_at_end(phone)
    phone.get_by_role("button", name="Stop").tap()


def test_the_scroll_bar_lets_go_of_the_end(chromium: Browser, url: str) -> None:
    path, arguments = chromium_path()
    with_bars = chromium.browser_type.launch(
        executable_path=path, args=arguments, ignore_default_args=["--hide-scrollbars"]
    )
    try:
        with browsing(with_bars, url) as context:
            page = signed_up(context)
            transcript = stream(page)
            found = transcript.bounding_box()
            assert found
            page.mouse.move(found["x"] + found["width"] - 6, found["y"] + found["height"] - 30)
            page.mouse.down()
            page.mouse.move(
                found["x"] + found["width"] - 6, found["y"] + found["height"] - 60, steps=5
            )
            page.mouse.up()
            expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
            before, _ = place(transcript)
            grows(page)
            assert abs(place(transcript)[0] - before) < 1
            page.get_by_role("button", name="Stop").click()
    finally:
        with_bars.close()


def test_the_end_of_a_reply_moves_nobody_who_reads_elsewhere(sign_up: SignUp) -> None:
    page = sign_up()
    transcript = stream(page)
    transcript.hover()
    page.mouse.wheel(0, -150)
    expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
    top, _ = place(transcript)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("article[data-status=stopped]")).to_have_count(1)
    expect(page.get_by_role("button", name="Retry")).to_be_attached()
    assert abs(place(transcript)[0] - top) < 160
    expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()


def test_a_wheel_over_code_that_scrolls_by_itself_lets_go_of_nothing(sign_up: SignUp) -> None:
    page = sign_up()
    stream(page)
    page.evaluate(
        """() => {
          const inner = document.createElement("div");
          inner.className = "inner";
          // In its place, however the reply grows: the wheel has to meet it.
          inner.style.cssText =
            "position: fixed; top: 200px; left: 500px; z-index: 9; width: 200px; height: 80px; overflow-y: auto";
          inner.innerHTML = "<div style='height: 400px'></div>";
          document.querySelector("article[data-status=streaming]").append(inner);
          inner.scrollTop = 200;
        }"""
    )
    page.locator(".inner").hover()
    page.mouse.wheel(0, -40)
    page.wait_for_function("() => document.querySelector('.inner').scrollTop < 200")
    grows(page)
    is_at_end(page)
    page.get_by_role("button", name="Stop").click()
