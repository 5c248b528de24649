"""What a reply looks like, in a real Chromium: every text comes from a provider through the chat."""

from __future__ import annotations

import gzip
import re
from collections.abc import Generator
from urllib.parse import unquote

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.ui.conftest import signed_up, started
from tests.ui.hostile_markdown import HOSTILE
from tests.ui.markdown_node import sample
from tests.ui.pages import ends, say
from tests.ui.scripted_model import ScriptedModel, scripted_model

pytestmark = pytest.mark.timeout(600)

# What /chat may load, compressed, before a reply needs formulas, colors or diagrams.
MOST_SCRIPT_BYTES = 250_000
PLENTY = {
    "OPENAI_API_KEY": "sk-scripted-0123456789",
    "DEFAULT_MODEL": "gpt-6-luna",
    "MAX_REPLY_TOKENS": "16000",
    "FREE_TOKENS_PER_MONTH": "100000000",
    "FREE_REQUESTS_PER_MINUTE": "1000",
    "FREE_REQUESTS_PER_DAY": "10000",
}
LINES = [f'    value_{number} = compute({number}, "text")' for number in range(400)]
CODE = "\n".join(["def f():", *LINES])
# The browser notes what it draws on one line; a piece of code has forty.
LARGEST_REPAINT = 40 * 60
DIAGRAM = "```mermaid\nflowchart LR\n  A[Start] --> B[End]\n```"
HOSTILE_DIAGRAMS = [
    'flowchart LR\n  A["<img src=x onerror=alert(1)>"] --> B["<script>alert(1)</script>"]',
    'flowchart LR\n  A@{ img: "https://evil.example/a.png" } --> B\n',
    'flowchart LR\n  A --> B\n  click A "javascript:alert(1)"\n  click B call alert(1)',
    '%%{init: {"securityLevel": "loose", "themeCSS": "* { background: url(//evil.example) }"}}%%\n'
    "flowchart LR\n  A --> B",
    "flowchart LR\n  A --> B\n  style A fill:url(https://evil.example/a)",
    "---\nconfig:\n  securityLevel: loose\n  htmlLabels: true\n---\nflowchart LR\n"
    '  A["<a href=https://evil.example>x</a>"] --> B',
    "flowchart LR\n" + "\n".join(f"  n{a} --> n{b}" for a in range(17) for b in range(17)),
]
# What would run or load something, were the picture a part of the page.
LIVE = re.compile(r"""\ssrc=|url\(["']?(?!["']?#)|<script|<foreignObject|\son\w+=""")
BROKEN_DRAWING = """
const exec = RegExp.prototype.exec;
RegExp.prototype.exec = function (text) {
  if (String(text).includes("unlucky")) throw new Error("a drawing that fails");
  return exec.call(this, text);
};
"""


@pytest.fixture(scope="module")
def model() -> Generator[ScriptedModel]:
    with scripted_model() as model:
        yield model


@pytest.fixture(scope="module")
def address(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("replies")
    with started(folder, **PLENTY, OPENAI_API_BASE=model.url) as address:
        yield address


class Seen:
    """What a browser asked for, ran and complained of."""

    def __init__(self, page: Page) -> None:
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self._request(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text) if message.type == "error" else None
            ),
        )

    def _request(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            self.foreign.append(url)


@pytest.fixture(scope="module")
def tab(chromium: Browser, address: str) -> Generator[tuple[Page, Seen]]:
    context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = signed_up(context)
    seen = Seen(page)
    yield page, seen
    context.close()


@pytest.fixture
def chat(tab: tuple[Page, Seen]) -> Generator[Page]:
    """A new conversation, in which nothing is fetched from elsewhere and nothing fails."""
    page, seen = tab
    page.goto("/chat")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    yield page
    assert seen.foreign == []
    assert seen.complaints == []


def replied(page: Page, model: ScriptedModel, text: str, name: str = "text") -> Locator:
    model.will_say(name, text)
    reply = say(page, name)
    ends(reply, "done")
    return reply


def copied(page: Page) -> str:
    return page.evaluate("navigator.clipboard.readText()")


def direction(element: Locator) -> str:
    return element.evaluate("element => getComputedStyle(element).direction")


def can_type(page: Page) -> None:
    box = page.get_by_role("textbox", name="Message")
    box.press_sequentially("still here")
    expect(box).to_have_value("still here")
    box.fill("")


def test_chat_loads_without_what_it_does_not_need_yet(chromium: Browser, address: str) -> None:
    context = chromium.new_context(base_url=address)
    page = signed_up(context)
    page.reload()
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    names = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    context.close()
    scripts = {name for name in names if name.endswith(".js")}
    assert len(scripts) > 3
    assert not [name for name in scripts if re.search("mermaid|_worker|diagram_frame", name)]
    bodies = [httpx.get(name).raise_for_status().content for name in scripts]
    assert sum(len(gzip.compress(body)) for body in bodies) < MOST_SCRIPT_BYTES


def test_addresses_are_links_that_say_where_they_lead(chat: Page, model: ScriptedModel) -> None:
    # The first letter of the last host is Cyrillic.
    reply = replied(chat, model, sample("links") + "\n\nhttps://\u0430pple.com/x")
    links = {
        link.inner_text(): link
        for link in reply.locator("a").all()
        if not (link.get_attribute("href") or "").startswith("#")
    }
    assert {text: link.get_attribute("href") for text, link in links.items()} == {
        "the guide": "https://docs.example.com/start",
        "https://example.org/a_(b)": "https://example.org/a_(b)",
        "https://auto.example.com/": "https://auto.example.com/",
        "us": "mailto:help@example.com",
        "reference": "https://example.com/ref",
        "https://example.com/note": "https://example.com/note",
        "https://\u0430pple.com/x": "https://xn--pple-43d.com/x",
    }
    for link in links.values():
        expect(link).to_have_attribute("target", "_blank")
        expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        expect(link).to_have_attribute("title", link.get_attribute("href") or "")
    # Also where there is no pointer to hover with.
    shown = "element => getComputedStyle(element, '::after').content"
    assert "docs.example.com" in links["the guide"].evaluate(shown)
    assert "help@example.com" in links["us"].evaluate(shown)
    assert "xn--pple-43d.com" in links["https://\u0430pple.com/x"].evaluate(shown)
    assert links["https://example.org/a_(b)"].evaluate(shown) == "none"
    expect(reply).to_contain_text("Not links: x, y, z, home, file.")


def test_footnotes_of_two_replies_do_not_meet(chat: Page, model: ScriptedModel) -> None:
    first = replied(chat, model, sample("links"))
    replied(chat, model, sample("links"))
    ids = chat.locator(".prose [id]").evaluate_all("all => all.map((one) => one.id)")
    assert len(ids) == len(set(ids)) == 4
    note = first.get_by_role("link", name="Footnote 1")
    note.click()
    expect(first.locator(".footnotes li")).to_be_focused()
    expect(first.locator(".footnotes li")).to_contain_text("A note with")
    first.get_by_role("link", name="Back to the text").click()
    expect(note).to_be_focused()
    assert "#" not in chat.url


def test_pictures_are_never_fetched(chat: Page, model: ScriptedModel) -> None:
    reply = replied(chat, model, sample("pictures"))
    expect(reply).to_contain_text("[Picture not loaded: a chart] and [Picture not loaded]")
    expect(reply.locator("img")).to_have_count(0)


def test_code_is_shown_and_copied_to_the_letter(chat: Page, model: ScriptedModel) -> None:
    text = sample("fences")
    inside = text.split("````markdown\n")[1].split("\n````")[0]
    reply = replied(chat, model, text)
    expect(reply.locator("pre code")).to_have_text(inside)
    reply.get_by_role("button", name="Copy code").click()
    expect(reply.get_by_role("button", name="Copy code")).to_have_text("Copied")
    assert copied(chat) == inside
    reply.get_by_role("button", name="Copy reply").click()
    expect(reply.locator(".icon-check")).to_be_visible()
    assert copied(chat) == text
    expect(reply.locator(".formula .katex")).to_have_count(1)


def test_prices_stay_prices(chat: Page, model: ScriptedModel) -> None:
    reply = replied(chat, model, sample("prices"))
    expect(reply.get_by_role("columnheader")).to_have_text(["Plan", "Price ($/mo)", "Price ($/yr)"])
    expect(reply).to_contain_text("It costs $5, then $10, or $4 each. From $10/mo to $20/mo.")
    expect(reply).to_contain_text("Price ($) = units × rate ($)")
    expect(reply.locator(".formula")).to_have_count(0)


def test_formulas_are_drawn_in_their_places(chat: Page, model: ScriptedModel) -> None:
    reply = replied(chat, model, sample("formulas"))
    expect(reply.locator(".katex-html")).to_have_count(4)
    inner = reply.locator("li li")
    expect(inner.locator(".katex-html")).to_have_count(1)
    expect(inner).to_contain_text("after the formula, still in b")
    expect(reply.locator("blockquote .katex-html")).to_have_count(1)
    expect(reply.locator("blockquote")).to_contain_text("and the rest of the quotation")
    expect(reply.locator("pre")).to_have_count(0)


def test_a_formula_that_is_no_tex_shows_its_source(chat: Page, model: ScriptedModel) -> None:
    long = "x+" * 1200
    reply = replied(
        chat, model, f"\\(\\frac{{a\\) and $$\\href{{javascript:alert(1)}}{{x}}$$\n\n$${long}y$$"
    )
    expect(reply.locator(".formula-source").first).to_have_text("\\frac{a")
    expect(reply.locator(".formula-source").last).to_have_text(f"{long}y")
    expect(reply.locator("a")).to_have_count(0)


def test_a_formula_is_drawn_up_to_its_bound(chat: Page, model: ScriptedModel) -> None:
    reply = replied(chat, model, f"$${'x' * 2000}$$\n\n$${'y' * 2001}$$")
    expect(reply.locator(".katex-html")).to_have_text("x" * 2000)
    expect(reply.locator(".formula-source")).to_have_text("y" * 2001)


def test_chinese_and_japanese_are_read_as_they_are_written(
    chat: Page, model: ScriptedModel
) -> None:
    reply = replied(chat, model, sample("cjk"))
    expect(reply.locator("strong")).to_have_text(["「重要」", "注意："])
    expect(reply.locator("s, del")).to_have_count(0)
    link = reply.get_by_role("link")
    expect(link).to_have_text("https://example.com/路径")
    assert unquote(link.get_attribute("href") or "") == "https://example.com/路径"


def test_every_paragraph_has_its_own_direction(chat: Page, model: ScriptedModel) -> None:
    more = "\n\n# عنوان\n\n> اقتباس\n\n| عمود | Two |\n|---|---|\n| قيمة | value |\n"
    reply = replied(chat, model, sample("rtl") + more)
    paragraphs = reply.locator("p")
    assert direction(paragraphs.first) == "rtl"
    assert direction(reply.locator("ul")) == direction(reply.locator("li")) == "rtl"
    assert direction(reply.locator("pre")) == direction(reply.locator("pre code")) == "ltr"
    assert direction(reply.get_by_text("And a paragraph in English.")) == "ltr"
    assert (
        direction(reply.get_by_role("heading")) == direction(reply.locator("blockquote")) == "rtl"
    )
    assert [direction(cell) for cell in reply.locator("th, td").all()] == ["rtl", "ltr"] * 2
    assert direction(reply.locator("table")) == "rtl"


def test_cells_break_and_keys_look_like_keys(chat: Page, model: ScriptedModel) -> None:
    reply = replied(chat, model, sample("cells"))
    expect(reply.locator("td br")).to_have_count(1)
    expect(reply.locator("kbd")).to_have_text("Ctrl")
    expect(reply.locator("sub")).to_have_text("2")
    expect(reply).to_contain_text('List<String>; <b onclick="x">no</b>')
    expect(reply.locator("b")).to_have_count(0)


def test_what_nests_without_end_is_plain_text(chat: Page, model: ScriptedModel) -> None:
    deep = "> " * 2000 + "x"
    reply = replied(chat, model, deep)
    expect(reply.locator(".plain-text")).to_have_text(deep)
    can_type(chat)
    chat.reload()
    expect(reply.locator(".plain-text")).to_have_text(deep)
    can_type(chat)


@pytest.mark.parametrize(
    "name",
    [
        "emphasis",
        "brackets",
        "dollar formulas",
        "one formula",
        "matrix",
        "macros",
        "huge rule",
        "hollow table",
        "nested strong",
        "notes in notes",
        "lists of all kinds",
    ],
)
def test_no_text_takes_the_page_away(chat: Page, model: ScriptedModel, name: str) -> None:
    reply = replied(chat, model, HOSTILE[name])
    expect(reply.locator(".prose")).to_be_visible()
    expect(reply.locator("[aria-busy=true]")).to_have_count(0, timeout=30_000)
    can_type(chat)
    box = reply.locator(".prose").bounding_box()
    assert box
    assert box["width"] <= 800


def test_a_reply_that_cannot_be_drawn_is_shown_as_it_was_written(
    chromium: Browser, address: str, model: ScriptedModel
) -> None:
    context = chromium.new_context(base_url=address)
    context.add_init_script(BROKEN_DRAWING)
    page = signed_up(context)
    text = "An **unlucky** reply\n\n- with a list"
    reply = replied(page, model, text)
    expect(reply.locator(".plain-text")).to_have_text(text)
    other = replied(page, model, "Another **one**")
    expect(other.locator("strong")).to_have_text("one")
    can_type(page)
    context.close()


def test_a_formula_is_held_back_until_it_closes(chat: Page, model: ScriptedModel) -> None:
    before = "The half is \\(\\frac{1}"
    script = model.will_say("half", before + "{2}\\) of it.", pause_at=len(before))
    reply = say(chat, "half")
    expect(reply).to_have_attribute("data-status", "streaming")
    expect(reply.locator(".prose")).to_have_text("The half is")
    # What has come can be copied already.
    reply.get_by_role("button", name="Copy reply").click()
    expect(reply.locator(".icon-check")).to_be_visible()
    assert before.startswith(copied(chat))
    assert copied(chat).startswith("The half is")
    script.resume.set()
    ends(reply, "done")
    expect(reply.locator(".katex-html")).to_have_count(1)
    expect(reply).to_contain_text("of it.")


def test_long_code_folds_wraps_and_is_copied(chat: Page, model: ScriptedModel) -> None:
    reply = replied(chat, model, f"Here:\n\n```python\n{CODE}\n```\n\nThat's it.")
    code = reply.locator("pre")
    expect(code.locator(".hljs-keyword").first).to_be_visible()
    expect(code.locator(".hljs-string")).to_have_count(400)
    # Nothing of it is missing for who searches the page, and nothing is added.
    assert code.text_content() == CODE
    folded = code.bounding_box()
    reply.get_by_role("button", name="Show all 401 lines").click()
    fewer = reply.get_by_role("button", name="Show fewer lines")
    expect(fewer).to_have_attribute("aria-expanded", "true")
    unfolded = code.bounding_box()
    assert folded
    assert unfolded
    assert folded["height"] < 400
    assert unfolded["height"] > 4000
    wrap = reply.get_by_role("button", name="Wrap lines")
    assert code.evaluate("element => getComputedStyle(element).whiteSpace") == "pre"
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "true")
    assert code.evaluate("element => getComputedStyle(element).whiteSpace") == "pre-wrap"
    reply.get_by_role("button", name="Copy code").click()
    expect(reply.get_by_role("button", name="Copy code")).to_have_text("Copied")
    assert copied(chat) == CODE
    edge = ["```\n" + "line\n" * lines + "```" for lines in (30, 31)]
    folds = replied(chat, model, "\n\n".join(edge)).get_by_role("button", name=re.compile("Show"))
    expect(folds).to_have_text(["Show all 31 lines"])


def test_growing_code_repaints_only_its_end(chat: Page, model: ScriptedModel) -> None:
    model.will_say("much code", f"```text\n{CODE}\n```", tokens_per_second=1000)
    chat.evaluate(
        """() => {
          window.repaints = [];
          new MutationObserver((records) => {
            for (const { type, target } of records) {
              if (type === "characterData") window.repaints.push(target.data.length);
            }
          }).observe(document.body, { subtree: true, characterData: true });
        }"""
    )
    reply = say(chat, "much code")
    ends(reply, "done")
    assert reply.locator("pre").text_content() == CODE
    repaints = chat.evaluate("window.repaints")
    assert len(repaints) > 5
    assert max(repaints) <= LARGEST_REPAINT


def test_selected_code_has_no_more_lines_than_it_has(chat: Page, model: ScriptedModel) -> None:
    reply = replied(chat, model, f"```text\n{CODE}\n```")
    selected = reply.locator("pre").evaluate(
        "element => (getSelection().selectAllChildren(element), getSelection().toString())"
    )
    assert selected.rstrip("\n") == CODE


def test_diagrams_are_pictures_with_their_source_a_click_away(
    chat: Page, model: ScriptedModel
) -> None:
    reply = replied(chat, model, f"See:\n\n{DIAGRAM}\n\nThat.")
    picture = reply.get_by_role("img", name="Diagram")
    expect(picture).to_be_visible(timeout=60_000)
    in_light = picture.get_attribute("src") or ""
    light = unquote(in_light)
    assert light.startswith("data:image/svg+xml,<svg")
    assert "Start" in light
    assert picture.evaluate("element => element.decode().then(() => element.naturalWidth)") > 50
    chat.emulate_media(color_scheme="dark")
    expect(picture).not_to_have_attribute("src", in_light, timeout=60_000)
    chat.emulate_media(color_scheme="light")
    reply.get_by_role("button", name="Show source").click()
    expect(reply.locator("pre")).to_contain_text("A[Start] --> B[End]")
    reply.get_by_role("button", name="Show diagram").click()
    expect(picture).to_be_visible()
    frames = chat.locator("iframe.diagram-frame")
    expect(frames).to_have_attribute("sandbox", "allow-scripts")
    broken = replied(chat, model, "```mermaid\nflowchart LR\n A--<\n```")
    expect(broken).to_contain_text("This diagram can’t be drawn. Here is its source.")
    expect(broken.locator("pre")).to_contain_text("A--<")


def test_a_diagram_waits_until_it_is_whole(chat: Page, model: ScriptedModel) -> None:
    pause = DIAGRAM.index("B[End]")
    script = model.will_say("diagram", DIAGRAM, pause_at=pause)
    reply = say(chat, "diagram")
    expect(reply.locator("pre")).to_contain_text("A[Start] -->")
    expect(reply.get_by_role("button", name="Show source")).to_have_count(0)
    script.resume.set()
    ends(reply, "done")
    expect(reply.get_by_role("img", name="Diagram")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("source", HOSTILE_DIAGRAMS)
def test_hostile_diagrams_neither_run_nor_fetch_anything(
    chat: Page, model: ScriptedModel, source: str
) -> None:
    reply = replied(chat, model, f"```mermaid\n{source}\n```")
    settled = reply.locator(".diagram img, .code-note")
    expect(settled).to_have_count(1, timeout=60_000)
    can_type(chat)
    for picture in reply.locator(".diagram img").all():
        drawn = unquote(picture.get_attribute("src") or "")
        assert not LIVE.search(drawn)
