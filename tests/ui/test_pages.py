"""What each page is before and around its content: its HTML, its head, its bar, its menu."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from aisaas.aisaas import PAGES
from aisaas.api.pages import PLACEHOLDERS, built_pages, completed, page_of
from aisaas.settings import PROJECT_ROOT
from aisaas.ui import routes
from aisaas.ui.chat.components import SUGGESTIONS
from tests.ui.conftest import SignUp
from tests.ui.pages import answered

# The first test builds the front end.
pytestmark = pytest.mark.timeout(600)

# As if the page had just been loaded, whatever has the focus by itself.
TO_THE_TOP = (
    "document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex')"
)
# React has taken over the form that was in the HTML.
TAKEN_OVER = (
    "(part) => Object.keys(document.querySelector(part)).some((key) => key.startsWith('__react'))"
)
ASSETS = PROJECT_ROOT / "assets"
FORMS = {"/login": "Sign in", "/signup": "Create account", "/reset": "Email"}
OWN = {"/chat": "Chat", "/dashboard": "Usage", "/billing": "Billing", "/settings": "Settings"}
VALUES = {
    "terms_url": "https://example.com/terms?a=1&b=2",
    "privacy_url": "",
    "contact_email": "us@example.com",
    "url": "https://chat.example.com",
}
MODES = {"invitation": "You need an invitation", "closed": "Sign-up is closed"}


# What is put into a built page


def test_every_page_is_built_and_has_an_address() -> None:
    assert tuple(route for route, *_ in PAGES) == routes.PAGES


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/", "/"),
        ("/login", "/login"),
        ("/login/", "/login"),
        ("/chat/0b54", "/chat"),
        ("/chat/0b54/more", None),
        ("/admin/users", "/admin/users"),
        ("/admin/users/0b54", "/admin/users/_"),
        ("/admin/nothing", None),
        ("/favicon.svg", None),
        ("/../login", None),
    ],
)
def test_address_leads_to_its_page(path: str, page: str | None) -> None:
    built = {routes.built_path(route): "" for route in routes.PAGES}
    assert page_of(path, built) == page


def test_values_of_the_site_come_into_a_page_and_nothing_gets_out_of_them() -> None:
    links = " ".join(PLACEHOLDERS)
    page = f'<html lang="en"><head></head><body>{links}</body></html>'
    evil = VALUES | {"app_name": '"></head><script>alert(1)</script>'}
    found = completed(page, {"data-sign-up": "open"}, evil)
    assert found.startswith('<html lang="en" data-sign-up="open"><head><meta name="site" ')
    assert "https://example.com/terms?a=1&amp;b=2 " in found
    assert "invalid" not in found
    assert "<script>" not in found
    assert (
        json.loads(
            found.split('content="')[1]
            .split('"')[0]
            .replace("&quot;", '"')
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
        )
        == evil
    )


def test_folder_without_a_build_has_no_pages(tmp_path: Path) -> None:
    assert built_pages(tmp_path) == {}
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "index.html").write_text("home")
    (tmp_path / "a" / "b" / "index.html").write_text("deep")
    assert built_pages(tmp_path) == {"/": "home", "/a/b": "deep"}


# Before scripts run


@pytest.fixture
def plain(chromium: Browser, url: str):
    """A browser without scripts."""
    context = chromium.new_context(base_url=url, java_script_enabled=False)
    yield context
    context.close()


@pytest.mark.parametrize("path", FORMS)
def test_form_is_there_without_scripts(plain: BrowserContext, path: str) -> None:
    page = plain.new_page()
    page.goto(path)
    expect(page.get_by_role("textbox", name="Email")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).to_be_visible()


def test_password_is_not_asked_for_before_it_is_known_who_asks(plain: BrowserContext) -> None:
    page = plain.new_page()
    page.goto("/reset?choose=1")
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()
    expect(page.get_by_role("textbox")).to_have_count(0)


@pytest.mark.parametrize("path", OWN)
def test_outline_is_there_without_scripts_and_says_nothing_of_anybody(
    sign_up: SignUp, plain: BrowserContext, path: str
) -> None:
    member = sign_up()
    email = member.locator(".account-email").text_content() or "nobody"
    plain.add_cookies(member.context.cookies())  # type: ignore[arg-type]
    page = plain.new_page()
    page.goto(path)
    expect(page.get_by_role("heading", name=OWN[path], level=1)).to_be_attached()
    link = page.get_by_role("navigation", name="Pages").get_by_role("link", name=OWN[path])
    expect(link).to_have_attribute("aria-current", "page")
    assert "Ada" not in page.content()
    assert email not in page.content()
    expect(page.get_by_role("button", name="Account")).to_have_count(0)


def test_nothing_jumps_and_nothing_typed_is_lost_when_scripts_come(context: BrowserContext) -> None:
    page = context.new_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/assets/entry.client-*.js", hold)
    page.goto("/login", wait_until="commit")
    box = page.get_by_role("textbox", name="Email")
    box.fill("ada@example.com")
    place = box.bounding_box()
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    wait_for_takeover(page, "form")
    page.get_by_role("button", name=re.compile("^Show")).click()
    expect(page.get_by_label("Password", exact=True)).to_have_attribute("type", "text")
    expect(box).to_have_value("ada@example.com")
    assert box.bounding_box() == place


@pytest.mark.parametrize("scripts", [False, True], ids=["before scripts", "after"])
@pytest.mark.parametrize("mode", ["invitation", "closed"])
def test_no_form_where_nobody_may_sign_up(
    chromium: Browser, url: str, mode: str, scripts: bool
) -> None:
    context = chromium.new_context(base_url=url, java_script_enabled=scripts)
    page = context.new_page()
    for path in ("/signup", "/login", "/"):
        page.route(f"{url}{path}", with_mode(mode))
    open_page(page, "/signup", scripts=scripts)
    expect(page.get_by_role("button", name="Create account")).to_have_count(0)
    expect(page.get_by_text(MODES[mode])).to_be_visible()
    expect(page.get_by_role("main").get_by_role("link")).to_have_attribute("href", "/login")
    for path in ("/login", "/"):
        open_page(page, path, scripts=scripts)
        expect(page.locator("a[href^='/signup']:visible")).to_have_count(0)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    context.close()


def open_page(page: Page, path: str, *, scripts: bool) -> None:
    """The page is loaded, and its scripts, where they run, have taken it over."""
    page.goto(path)
    if scripts:
        wait_for_takeover(page, "h1")


def wait_for_takeover(page: Page, part: str) -> None:
    while not page.evaluate(TAKEN_OVER, part):
        page.wait_for_timeout(50)


def with_mode(mode: str):
    """The page as a server with another SIGN_UP_MODE sends it."""

    def handle(route: Route) -> None:
        answer = route.fetch()
        body = answer.text().replace('data-sign-up="open"', f'data-sign-up="{mode}"')
        body = body.replace(
            "&quot;sign_up_mode&quot;: &quot;open", f"&quot;sign_up_mode&quot;: &quot;{mode}"
        )
        route.fulfill(response=answer, body=body)

    return handle


# The head


def test_head_has_what_browsers_and_previews_look_for(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    page.goto("/")
    expect(page.locator("meta[name=description]")).to_have_attribute("content", re.compile(".{50}"))
    for scheme in ("light", "dark"):
        color = page.locator(f"meta[name=theme-color][media='(prefers-color-scheme: {scheme})']")
        expect(color).to_have_attribute("content", re.compile("#......"))
    for selector in ("meta[property='og:image']", "link[rel='apple-touch-icon']", "link[rel=icon]"):
        found = page.locator(selector)
        expect(found).to_have_count(1)
        address = found.get_attribute("content") or found.get_attribute("href") or ""
        answer = httpx.get(f"{url}{urlsplit(address).path}")
        assert (answer.status_code, answer.headers["content-type"][:6]) == (200, "image/"), selector
    preview = page.locator("meta[property='og:image']").get_attribute("content") or ""
    assert preview.startswith(f"{url}/")
    assert "preview" in preview


def test_crawlers_get_the_absolute_address_without_scripts(url: str) -> None:
    page = httpx.get(url).text
    assert f'content="{url}/images/preview.png"' in page
    assert "invalid" not in page


def test_manifest_and_its_icons(url: str) -> None:
    manifest = httpx.get(f"{url}/manifest.webmanifest").json()
    assert (manifest["name"], manifest["start_url"]) == ("AI SaaS", "/chat")
    for icon in manifest["icons"]:
        assert httpx.get(f"{url}{icon['src']}").headers["content-type"] == "image/png"


def test_robots_stay_out_of_what_is_private(url: str) -> None:
    lines = httpx.get(f"{url}/robots.txt").text.splitlines()
    assert lines[0] == "User-agent: *"
    for path in (*OWN, "/admin", "/reset", "/confirm", "/api/"):
        assert f"Disallow: {path}" in lines
    assert "Disallow: /" not in lines


def test_font_is_ours_and_kept(context: BrowserContext, url: str) -> None:
    page = context.new_page()
    fonts: list[str] = []
    page.on("request", lambda r: fonts.append(r.url) if r.resource_type == "font" else None)
    page.goto("/", wait_until="networkidle")
    assert page.evaluate("document.fonts.check('16px Inter')")
    assert fonts
    assert {urlsplit(font).netloc for font in fonts} == {urlsplit(url).netloc}
    answer = httpx.get(fonts[0])
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "SIL Open Font License" in (ASSETS / "fonts" / "LICENSE.txt").read_text("utf-8")


def test_browsers_title_is_the_conversations(sign_up: SignUp) -> None:
    page = sign_up()
    expect(page).to_have_title("Chat · AI SaaS")
    answered(page, "Tell me about tables")
    row = page.get_by_role("navigation", name="Conversations").get_by_role("listitem").first
    link = row.get_by_role("link")
    expect(link).not_to_have_text("New Conversation", timeout=20_000)
    expect(page).to_have_title(f"{link.text_content()} · AI SaaS")
    link.press("F2")
    page.get_by_role("textbox", name="New title").fill("Legs and tops")
    page.get_by_role("textbox", name="New title").press("Enter")
    expect(page).to_have_title("Legs and tops · AI SaaS")
    page.reload()
    expect(page).to_have_title("Legs and tops · AI SaaS")
    page.get_by_role("button", name="New chat").click()
    expect(page).to_have_title("Chat · AI SaaS")


# The bar and the menus


def test_pages_are_one_click_away_where_there_is_room(sign_up: SignUp) -> None:
    page = sign_up()
    pages = page.get_by_role("navigation", name="Pages")
    for path, name in reversed(OWN.items()):
        pages.get_by_role("link", name=name).click()
        page.wait_for_url(re.compile(f"{path}$"))
        expect(pages.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
    expect(pages.get_by_role("link", name="Admin")).to_have_count(0)
    expect(page.get_by_role("banner").get_by_role("link", name="AI SaaS")).to_have_attribute(
        "href", "/chat"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_menu_closes_and_gives_back_the_focus(sign_up: SignUp, width: int) -> None:
    page = sign_up()
    page.set_viewport_size({"width": width, "height": 800})
    button = page.get_by_role("button", name="Account", exact=True)
    out = page.get_by_role("button", name="Sign out")
    button.click()
    expect(out).to_be_visible()
    page.keyboard.press("Escape")
    expect(out).to_be_hidden()
    expect(button).to_be_focused()
    button.press("Enter")
    expect(out).to_be_visible()
    page.mouse.click(5, 400)
    expect(out).to_be_hidden()
    button.click()
    if width == 390:
        page.locator("#account-menu").get_by_role("link", name="Usage").click()
        page.wait_for_url(re.compile("/dashboard$"))
        page.get_by_role("button", name="Account", exact=True).click()
    out.click()
    page.wait_for_url(re.compile(r"//[^/]+/(login.*)?$"))


def test_drawer_closes_and_gives_back_the_focus(sign_up: SignUp) -> None:
    page = sign_up()
    page.set_viewport_size({"width": 390, "height": 800})
    toggle = page.get_by_role("button", name="Show conversations")
    inside = page.get_by_role("button", name="New chat")
    expect(inside).to_be_hidden()
    for close in (lambda: page.keyboard.press("Escape"), lambda: page.mouse.click(380, 400)):
        toggle.click()
        expect(inside).to_be_visible()
        expect(inside).to_be_focused()
        close()
        expect(inside).to_be_hidden()
        expect(toggle).to_be_focused()
    toggle.click()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(inside).to_be_hidden()


@pytest.mark.parametrize("path", ["/", "/login", "/reset?choose=1", "/chat"])
def test_first_tab_skips_to_the_content(
    sign_up: SignUp, context: BrowserContext, path: str
) -> None:
    page = sign_up() if path == "/chat" else context.new_page()
    if path != "/chat":
        page.goto(path)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    address = page.url
    page.evaluate(TO_THE_TOP)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    skip.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.url == f"{address}#content"


def test_start_page_knows_who_is_signed_in(sign_up: SignUp, plain: BrowserContext) -> None:
    visitor = plain.new_page()
    visitor.goto("/")
    expect(visitor.get_by_role("link", name="Start for free").first).to_be_visible()
    expect(visitor.get_by_role("link", name="Open chat")).to_have_count(0)
    member = sign_up()
    member.goto("/")
    expect(member.get_by_role("link", name="Start for free")).to_have_count(0)
    expect(member.get_by_role("link", name="Sign in")).to_have_count(0)
    member.get_by_role("main").get_by_role("link", name="Open chat").first.click()
    member.wait_for_url(re.compile("/chat$"))


def test_sign_in_is_not_shown_to_someone_who_is_signed_in(sign_up: SignUp, url: str) -> None:
    member = sign_up()
    cookies = {c.get("name", ""): c.get("value", "") for c in member.context.cookies()}
    for path in ("/login", "/signup?redirectTo=/billing"):
        answer = httpx.get(f"{url}{path}", cookies=cookies)
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    # A session that is over must not lead back and forth.
    stale = dict.fromkeys(cookies, "x" * 43)
    assert httpx.get(f"{url}/login", cookies=stale).status_code == httpx.codes.OK


# The landing page and the others


def test_prices_have_buttons_and_a_recommendation(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/")
    plans = page.locator(".plan")
    expect(plans).to_have_count(3)
    expect(page.locator(".plan", has_text="Recommended")).to_have_count(1)
    hrefs = [plan.get_by_role("link").get_attribute("href") for plan in plans.all()]
    assert hrefs == ["/signup", "/signup?redirectTo=/billing", "/signup?redirectTo=/billing"]


@pytest.mark.parametrize("width", [1280, 390])
def test_picture_follows_the_color_scheme(context: BrowserContext, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    shown: dict[str, str] = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto("/")
        picture = page.locator(".product img:visible")
        expect(picture).to_have_count(1)
        picture.scroll_into_view_if_needed()
        page.wait_for_function(
            "e => e.complete && e.naturalWidth > 0", arg=picture.element_handle()
        )
        shown[scheme] = picture.evaluate("e => e.currentSrc")
        assert scheme in shown[scheme]
        assert ("phone" in shown[scheme]) == (width == 390)
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator(".product-light img")).to_be_visible()
    expect(page.locator(".product-dark img")).to_be_hidden()


def test_nowhere_says_so_before_scripts_run(
    sign_up: SignUp, plain: BrowserContext, url: str
) -> None:
    for path in ("/no-such-page", "/no/such.html", "/404"):
        answer = httpx.get(f"{url}{path}")
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert "Page not found" in answer.text
    page = plain.new_page()
    page.goto("/no-such-page")
    expect(page.get_by_role("link", name="Go to the home page")).to_be_visible()
    member = sign_up()
    member.goto("/no-such-page")
    member.get_by_role("main").get_by_role("link", name="Open chat").click()
    member.wait_for_url(re.compile("/chat$"))


def test_suggestion_goes_into_the_message_box(sign_up: SignUp) -> None:
    page = sign_up()
    box = page.get_by_role("textbox", name="Message")
    first, second = SUGGESTIONS[:2]
    page.get_by_role("button", name=first.title).click()
    expect(box).to_have_value(first.text)
    expect(box).to_be_focused()
    expect(page.get_by_role("button", name="Send")).to_have_attribute("aria-disabled", "false")
    # What was typed is never replaced.
    page.get_by_role("button", name=second.title).click()
    expect(box).to_have_value(f"{first.text}\n{second.text}")
    page.reload()
    expect(box).to_have_value(f"{first.text}\n{second.text}")
    box.press("Enter")
    expect(page.get_by_role("article").first).to_contain_text(first.text)
    expect(page.get_by_role("button", name=first.title)).to_have_count(0)
