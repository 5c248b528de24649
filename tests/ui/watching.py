"""What a person sees of the transcript over time, recorded in the page frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Page

_RECORD = """() => {
  const seen = { blank: 0, blankSince: null, shrunk: [], text: "", length: 0, grew: performance.now() };
  window.__seen = seen;
  const look = (now) => {
    const replies = document.querySelectorAll("article[data-role=assistant]");
    if (replies.length) seen.blankSince = null;
    else seen.blankSince ??= now;
    if (seen.blankSince !== null) seen.blank = Math.max(seen.blank, now - seen.blankSince);
    const length = replies.length ? replies[replies.length - 1].textContent.length : 0;
    const text = replies.length ? replies[replies.length - 1].textContent : "";
    if (replies.length && length < seen.length - 40) seen.shrunk.push([seen.text, text]);
    seen.text = text;
    if (length > seen.length) seen.grew = now;
    if (replies.length) seen.length = length;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@dataclass(frozen=True)
class Seen:
    """Milliseconds without any reply in view; where a text became shorter, before and after; its length now."""

    blank: float
    shrunk: list[tuple[str, str]]
    length: int


def watch(page: Page) -> None:
    """Record from now on; a reload of the page would lose it, and so be noticed."""
    page.evaluate(_RECORD)


def seen(page: Page) -> Seen:
    found = page.evaluate("() => window.__seen ?? null")
    assert found is not None, "the page was reloaded"
    return Seen(found["blank"], found["shrunk"], found["length"])


def grows(page: Page, timeout: float = 60_000) -> None:
    """Until the last reply is longer than now."""
    page.evaluate(
        """(timeout) => new Promise((resolve, reject) => {
          const begun = performance.now(), length = window.__seen.length;
          const look = () => {
            if (window.__seen.length > length) resolve();
            else if (performance.now() - begun > timeout) reject(new Error("it did not grow"));
            else setTimeout(look, 10);
          };
          look();
        })""",
        timeout,
    )
