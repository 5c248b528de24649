"""Pages of the Stripe fake as a browser without script uses them: read, filled in, sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import httpx


@dataclass(slots=True)
class Form:
    """`fields` has what would be sent if nothing were typed; `buttons` text to name and value."""

    action: str
    fields: dict[str, str] = field(default_factory=dict[str, str])
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


class Page(HTMLParser):
    """`text` is what can be read, with single spaces; `links` text to address."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self._form: Form | None = None
        self._collecting: list[tuple[dict[str, str | None], list[str]]] = []
        self._words: list[str] = []
        self._silent = False
        self.feed(answer.text)
        self.text = " ".join("".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._silent = tag in ("style", "title")
        if tag in ("p", "div", "dt", "dd", "td", "th", "li", "h1", "h2", "h3", "span", "label"):
            self._words.append(" ")
        if tag == "form":
            self._form = Form(given.get("action") or str(self.answer.url))
            self.forms.append(self._form)
        elif tag == "input" and self._form and (name := given.get("name")):
            self._form.fields[name] = given.get("value") or ""
        elif tag in ("button", "a"):
            self._collecting.append((given, []))

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        if tag == "form":
            self._form = None
        if tag not in ("button", "a"):
            return
        given, words = self._collecting.pop()
        text = " ".join("".join(words).split())
        if tag == "a":
            self.links[text] = given.get("href") or ""
        elif self._form is not None:
            self._form.buttons[text] = (given.get("name") or "", given.get("value") or "")

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        self._words.append(data)
        for _, words in self._collecting:
            words.append(data)

    def form(self, button: str) -> Form:
        found = [form for form in self.forms if button in form.buttons]
        assert found, f"no button {button!r} among {[list(f.buttons) for f in self.forms]}"
        return found[0]


def typed(number: str = "4242 4242 4242 4242", **other: str) -> dict[str, str]:
    """A card as someone types it."""
    return {"number": number, "expires": "12/40", "cvc": "123", "name": "Ada L."} | other


class Visitor:
    """A person with a browser. The caller follows redirects."""

    def __init__(self, http: httpx.AsyncClient, base: str) -> None:
        self.http, self.base = http, base

    async def open(self, address: str) -> Page:
        return Page(await self.http.get(self._whole(address)))

    async def press(self, page: Page, button: str, **typed: str) -> httpx.Response:
        """Send the form that has this button; raises if it has no such field."""
        form = page.form(button)
        assert typed.keys() <= form.fields.keys(), f"{typed.keys()} in {form.fields.keys()}"
        name, value = form.buttons[button]
        sent = form.fields | typed | ({name: value} if name else {})
        return await self.send(form.action, sent)

    async def pressed(self, page: Page, button: str, **typed: str) -> Page:
        """The page at which that ends."""
        answer = await self.press(page, button, **typed)
        if answer.is_redirect:
            return await self.open(answer.headers["location"])
        return Page(answer)

    async def send(self, address: str, fields: Mapping[str, str], **headers: Any) -> httpx.Response:
        browser = {
            "origin": self.base,
            "sec-fetch-site": "same-origin",
            "content-type": "application/x-www-form-urlencoded",
        }
        return await self.http.post(
            self._whole(address), content=urlencode(fields), headers=browser | headers
        )

    def _whole(self, address: str) -> str:
        return f"{self.base}{address}" if address.startswith("/") else address
