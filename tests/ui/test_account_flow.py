"""What people do about their accounts, in a real Chromium: getting in by every way there is, and what
the settings change. The mails are the ones the embedded sign-in server sent.
"""

from __future__ import annotations

import re
import struct
import time
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import APIResponse, Browser, BrowserContext, Page, Request, expect

from aisaas.cli.instance import Running, running_in
from childprocess.folder import DataFolder
from tests.ui.conftest import PASSWORD, started

ANOTHER = "another password for a test"
NOTE_SECONDS = 10
MAIL_SECONDS = 10
TRIES = 5
CAPTCHA = {"CAPTCHA_PROVIDER": "turnstile", "CAPTCHA_SITE_KEY": "the-site-key"}
# As much of the vendor's script as pages use; the real one asks a human, or looks at the browser.
TURNSTILE = """
(() => {
  const widgets = {};
  let answers = 0;
  const answer = (id) => setTimeout(() => widgets[id].callback(`answer-${++answers}`), 0);
  window.turnstile = {
    render(box, options) {
      const id = `widget-${Object.keys(widgets).length + 1}`;
      box.textContent = `I am human, says ${options.sitekey}`;
      widgets[id] = options;
      answer(id);
      return id;
    },
    reset: answer,
    remove: () => {},
    growOld: () => widgets["widget-1"]["expired-callback"](),
  };
  window[new URL(document.currentScript.src).searchParams.get("onload")]();
})();
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("accounts")


@pytest.fixture(scope="module")
def url(folder: Path) -> Generator[str]:
    """An instance that confirms addresses, and knows two providers."""
    with started(
        folder,
        EMBEDDED_CONFIRM_EMAIL="true",
        OAUTH_PROVIDERS="google,github",
        SIGN_UPS_PER_ADDRESS="1000",
        MAILS_PER_ADDRESS="1000",
        SIGN_IN_TRIES_PER_ACCOUNT=str(TRIES),
    ) as address:
        yield address


@pytest.fixture(scope="module")
def instance(folder: Path, url: str) -> Running:
    deadline = time.monotonic() + NOTE_SECONDS
    while time.monotonic() < deadline:
        # Written when the app answers, a moment after a caller can see the answer.
        found = running_in(DataFolder(folder / "data"))
        if found is not None:
            assert found.url == url
            return found
        time.sleep(0.05)
    pytest.fail("the instance has not noted where its parts are")


class Mailbox:
    """The mails of the instance."""

    def __init__(self, instance: Running) -> None:
        assert instance.mailbox_url is not None
        self._address = f"{instance.mailbox_url}.json"

    def link(self, to: str, kind: str) -> str:
        """The link of the newest mail of a kind."""
        deadline = time.monotonic() + MAIL_SECONDS
        while time.monotonic() < deadline:
            found = httpx.get(self._address, params={"to": to}).raise_for_status().json()
            links = [each["link"] for each in found["messages"] if each["type"] == kind]
            if links:
                return links[0]
            time.sleep(0.1)
        pytest.fail(f"no {kind} mail to {to}")


@pytest.fixture(scope="module")
def mailbox(instance: Running) -> Mailbox:
    return Mailbox(instance)


@pytest.fixture
def other(chromium: Browser, url: str) -> Generator[BrowserContext]:
    """Another browser."""
    context = chromium.new_context(base_url=url)
    yield context
    context.close()


def someone() -> str:
    return f"ada-{uuid4().hex[:10]}@example.com"


def post(context: BrowserContext, path: str, **fields: str) -> APIResponse:
    """What a form of ours sends; the browser keeps the cookie that comes back."""
    form: dict[str, str | float | bool] = {**fields}
    answer = context.request.post(path, form=form, headers={"accept": "application/json"})
    assert answer.ok, answer.text()
    return answer


def member(context: BrowserContext, mailbox: Mailbox) -> str:
    """Someone who signed up a moment ago and is signed in here; their address."""
    address = someone()
    post(
        context, "/api/session/sign-up", email=address, password=PASSWORD, full_name="Ada Lovelace"
    )
    query = parse_qs(urlsplit(mailbox.link(address, "signup")).query)
    token = query["token_hash"][0]
    post(context, "/api/session/confirm", token_hash=token, type="signup")
    return address


def fill_in(page: Page, address: str, password: str = PASSWORD) -> None:
    page.get_by_label("Email").fill(address)
    page.get_by_label("Password", exact=True).fill(password)


def sign_in(page: Page, address: str, password: str = PASSWORD) -> None:
    fill_in(page, address, password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def settings_of(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/settings")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    return page


def card(page: Page, title: str):
    return page.locator(".settings-card").filter(has=page.get_by_role("heading", name=title))


def on(path: str) -> re.Pattern[str]:
    return re.compile(rf"//[^/]+{re.escape(path)}$")


# In


def test_an_address_is_confirmed_by_mail(context: BrowserContext, mailbox: Mailbox) -> None:
    address, page = someone(), context.new_page()
    page.goto("/signup?redirectTo=/settings")
    page.get_by_label("Full name").fill("Ada Lovelace")
    fill_in(page, address)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Check your email")).to_be_focused()
    expect(page.get_by_text(address)).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Resend in"))).to_have_attribute(
        "aria-disabled", "true"
    )
    shown = page.get_by_role("link", name="Open the test mailbox")
    expect(shown).to_have_attribute("href", re.compile(r"/mailbox\?to=ada-"))
    # Signing in before is refused, and offers the mail once more.
    elsewhere = context.new_page()
    elsewhere.goto("/login")
    sign_in(elsewhere, address)
    expect(elsewhere.get_by_role("alert")).to_have_attribute("data-code", "email_not_confirmed")
    # Enter still means to sign in.
    with elsewhere.expect_request("**/api/session/sign-in"):
        elsewhere.get_by_label("Password", exact=True).press("Enter")
    expect(elsewhere.get_by_role("alert")).to_have_attribute("data-code", "email_not_confirmed")
    elsewhere.get_by_role("button", name="Resend the email").click()
    expect(elsewhere.get_by_role("heading", name="Check your email")).to_be_visible()

    answer = page.goto(mailbox.link(address, "signup"))
    assert answer is not None
    assert answer.headers["referrer-policy"] == "no-referrer"
    confirm = page.get_by_role("button", name="Confirm email address")
    expect(confirm).to_be_visible()
    # The secret is not in the address any more; and opening the page has not used it up.
    assert page.url.endswith("/confirm")
    confirm.click()
    page.wait_for_url(on("/settings"))
    expect(card(page, "Email")).to_contain_text(address)


def test_a_mails_link_signs_in_once(context: BrowserContext, mailbox: Mailbox, url: str) -> None:
    address = member(context, mailbox)
    context.clear_cookies()
    page = context.new_page()
    page.goto("/login?redirectTo=/dashboard")
    page.get_by_label("Email").fill(address)
    page.get_by_role("button", name="Email me a sign-in link").click()
    expect(page.get_by_text("If that address has an account")).to_be_visible()
    link = mailbox.link(address, "magiclink")
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(on("/dashboard"))
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("expired or was already used")
    expect(page.get_by_role("link", name="Request a new link")).to_be_visible()


def test_a_forgotten_password_is_replaced_and_ends_other_sessions(
    context: BrowserContext, other: BrowserContext, mailbox: Mailbox
) -> None:
    address = member(other, mailbox)
    page = context.new_page()
    page.goto("/login")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("Email").fill(address)
    page.get_by_role("button", name="Send reset link").click()
    expect(page.get_by_text("If that address has an account")).to_be_visible()
    page.goto(mailbox.link(address, "recovery"))
    page.get_by_role("button", name="Choose a new password").click()
    page.wait_for_url(on("/reset?choose=1"))
    box = page.get_by_label("New password", exact=True)
    box.fill(ANOTHER)
    page.get_by_role("button", name="Show new password").click()
    expect(box).to_have_attribute("type", "text")
    page.get_by_role("button", name="Save password").click()
    expect(page.get_by_text("Your password has been changed.")).to_be_visible()
    # What was said is said once.
    page.wait_for_url(on("/chat"))
    # The other browser is signed out, and the old password is worth nothing.
    theirs = other.new_page()
    theirs.goto("/settings")
    theirs.wait_for_url(on("/login?redirectTo=/settings"))
    sign_in(theirs, address)
    expect(theirs.get_by_role("alert")).to_have_attribute("data-code", "invalid_credentials")
    sign_in(theirs, address, ANOTHER)
    theirs.wait_for_url(on("/settings"))


def test_an_invitation_is_accepted(
    context: BrowserContext, mailbox: Mailbox, instance: Running
) -> None:
    address, key = someone(), instance.env["SUPABASE_SECRET_KEY"]
    headers = {"apikey": key, "authorization": f"Bearer {key}"}
    invited = httpx.post(f"{instance.auth_url}/invite", json={"email": address}, headers=headers)
    invited.raise_for_status()
    page = context.new_page()
    page.goto(mailbox.link(address, "invite"))
    page.get_by_role("button", name="Accept invitation").click()
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Save password").click()
    page.wait_for_url(on("/chat"))
    post(context, "/api/session/sign-in", email=address, password=PASSWORD)


def test_a_mail_is_sent_again_after_a_minute(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/reset")
    page.get_by_label("Email").fill(someone())
    page.get_by_role("button", name="Send reset link").click()
    expect(page.get_by_role("button", name=re.compile("Resend in"))).to_be_visible()
    # The browser's clock only: nobody else's moves.
    page.clock.install()
    page.get_by_role("button", name="Use a different email address").click()
    page.get_by_label("Email").fill(someone())
    page.get_by_role("button", name="Send reset link").click()
    expect(page.get_by_role("button", name=re.compile("Resend in"))).to_be_visible()
    page.clock.fast_forward(61_000)
    page.get_by_role("button", name="Resend email", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="We sent it again.")).to_be_visible()


def test_choosing_a_password_without_a_session_offers_a_new_link(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/reset?choose=1")
    expect(page.get_by_role("heading", name="This link has expired")).to_be_visible()
    expect(page.get_by_role("button", name="Send reset link")).to_be_visible()


def test_a_provider_signs_in(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/login?redirectTo=/settings")
    page.get_by_role("link", name="Continue with Google").click()
    page.get_by_label("Email").fill(someone())
    page.get_by_label("Name").fill("Grace Hopper")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(on("/settings"))
    expect(card(page, "Sessions")).to_contain_text("Signed in with a provider")
    expect(page.get_by_label("Name")).to_have_value("Grace Hopper")


def test_a_visit_to_a_provider_is_cancelled(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/login?redirectTo=/settings")
    page.get_by_role("link", name="Continue with GitHub").click()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url(re.compile(r"/login\?error=access_denied&redirectTo="))
    expect(page.get_by_role("alert")).to_have_text("You canceled the sign-in.")
    # The way on is kept.
    expect(page.get_by_role("link", name="Continue with GitHub")).to_have_attribute(
        "href", "/api/session/oauth/github?redirectTo=%2Fsettings"
    )


def test_too_many_wrong_passwords_have_to_wait(context: BrowserContext) -> None:
    address, page = someone(), context.new_page()
    page.goto("/login")
    alert = page.get_by_role("alert")
    for _ in range(TRIES):
        with page.expect_response("**/api/session/sign-in"):
            sign_in(page, address, "wrong")
        expect(alert).to_have_text("Incorrect email or password.")
    sign_in(page, address, "wrong")
    expect(alert).to_have_attribute("data-code", "too_many_tries")
    expect(alert).to_have_text(
        re.compile(r"^Too many attempts\. Try again in (1 minute|\d+ minutes)\.$")
    )
    expect(page.get_by_label("Email")).to_have_value(address)


def test_words_in_the_address_are_never_shown(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/login?error=Call+0800+now&notice=Call+0801+now")
    expect(page.get_by_role("alert")).to_have_text("That didn't work. Try again.")
    expect(page.locator("body")).not_to_contain_text("Call")
    page.goto("/login?notice=signed_out_everywhere")
    expect(page.get_by_role("status").filter(has_text="signed out everywhere")).to_be_visible()


def test_pages_lead_where_someone_belongs(context: BrowserContext, mailbox: Mailbox) -> None:
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_role("link", name="mailbox")).to_be_visible()
    page.goto("/settings")
    page.wait_for_url(on("/login?redirectTo=/settings"))
    address = member(context, mailbox)
    context.clear_cookies()
    sign_in(page, address)
    page.wait_for_url(on("/settings"))
    for path in ("/login", "/signup"):
        page.goto(path)
        page.wait_for_url(on("/dashboard"))


# Settings


def test_the_name_is_changed(context: BrowserContext, mailbox: Mailbox) -> None:
    member(context, mailbox)
    page = settings_of(context)
    page.get_by_label("Name").fill("  Augusta   King ")
    page.get_by_role("button", name="Save name").click()
    expect(page.get_by_label("Name")).to_have_value("Augusta King")
    expect(card(page, "Profile").get_by_role("status").filter(has_text="Saved.")).to_be_visible()
    page.get_by_role("button", name="Account", exact=True).click()
    expect(page.locator(".account-title")).to_have_text("Augusta King")
    page.reload()
    expect(page.get_by_label("Name")).to_have_value("Augusta King")


def test_a_new_address_needs_both_mailboxes(context: BrowserContext, mailbox: Mailbox) -> None:
    old, new = member(context, mailbox), someone()
    page = settings_of(context)
    form = card(page, "Email")
    page.get_by_label("New email").fill(new)
    form.get_by_label("Current password", exact=True).fill("wrong")
    form.get_by_role("button", name="Change email address").click()
    expect(form.get_by_role("alert")).to_have_text("Your current password is incorrect.")
    expect(page.get_by_label("New email")).to_have_value(new)
    form.get_by_label("Current password", exact=True).fill(PASSWORD)
    form.get_by_role("button", name="Change email address").click()
    expect(form.get_by_role("status").first).to_contain_text(f"links to {new} and {old}")
    page.goto(mailbox.link(new, "email_change"))
    page.get_by_role("button", name="Confirm change").click()
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    page.goto(mailbox.link(old, "email_change"))
    page.get_by_role("button", name="Confirm change").click()
    page.wait_for_url(re.compile("/settings"))
    expect(page.get_by_text("Your email address has been changed.")).to_be_visible()
    expect(card(page, "Email")).to_contain_text(f"You sign in with {new}")


def test_the_password_is_changed_and_other_sessions_end(
    context: BrowserContext, other: BrowserContext, mailbox: Mailbox
) -> None:
    address = member(context, mailbox)
    post(other, "/api/session/sign-in", email=address, password=PASSWORD)
    page = settings_of(context)
    sessions = card(page, "Sessions").get_by_role("listitem")
    expect(sessions).to_have_count(2)
    form = card(page, "Password")
    form.get_by_label("Current password", exact=True).fill(PASSWORD)
    form.get_by_label("New password", exact=True).fill(ANOTHER)
    form.get_by_role("button", name="Change password").click()
    expect(form.get_by_role("status").first).to_contain_text("signed out of all other sessions")
    expect(sessions).to_have_count(1)
    expect(form.get_by_label("New password", exact=True)).to_have_value("")
    theirs = other.new_page()
    theirs.goto("/settings")
    theirs.wait_for_url(on("/login?redirectTo=/settings"))
    post(other, "/api/session/sign-in", email=address, password=ANOTHER)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    rows = b"".join(b"\0" + bytes((200, 80, y % 256)) * width for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_picture_is_made_small_shown_and_removed(
    context: BrowserContext, mailbox: Mailbox
) -> None:
    member(context, mailbox)
    page = settings_of(context)
    expect(page.locator("header .avatar")).to_have_attribute("data-initials", "AL")
    chooser = page.get_by_label("Choose a picture")
    chooser.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(card(page, "Profile").get_by_role("alert")).to_contain_text("can't read that file")
    chooser.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": png(1400, 900)})
    shown = page.get_by_role("img", name="Your picture")
    expect(shown).to_be_visible()
    expect(page.locator("header img.avatar")).to_be_visible()
    page.reload()
    size = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert shown.evaluate(size) == [512, 512]
    page.get_by_role("button", name="Remove").click()
    expect(shown).to_have_count(0)
    expect(page.locator("header .avatar")).to_have_attribute("data-initials", "AL")


def test_a_session_ended_from_elsewhere_says_so(
    context: BrowserContext, other: BrowserContext, mailbox: Mailbox
) -> None:
    address = member(context, mailbox)
    post(other, "/api/session/sign-in", email=address, password=PASSWORD)
    theirs = other.new_page()
    theirs.goto("/chat")
    expect(theirs.get_by_role("textbox", name="Message")).to_be_visible()
    page = settings_of(context)
    sessions = card(page, "Sessions")
    expect(sessions.get_by_role("listitem").first).to_contain_text("This device")
    expect(sessions.get_by_role("listitem").last).to_contain_text("last used just now")
    sessions.get_by_role("button", name="Sign out Chrome on Linux").click()
    expect(sessions.get_by_role("status").first).to_have_text("Signed out of Chrome on Linux.")
    expect(sessions.get_by_role("listitem")).to_have_count(1)
    theirs.get_by_role("textbox", name="Message").fill("hello")
    theirs.get_by_role("textbox", name="Message").press("Enter")
    alert = theirs.get_by_role("alert")
    expect(alert).to_have_attribute("data-code", "unauthenticated")
    alert.get_by_role("link", name="Sign in").click()
    sign_in(theirs, address)
    theirs.wait_for_url(on("/chat"))
    page.reload()
    expect(sessions.get_by_role("listitem")).to_have_count(2)
    sessions.get_by_role("button", name="Sign out other sessions").click()
    expect(sessions.get_by_role("listitem")).to_have_count(1)
    expect(sessions.get_by_role("status").first).to_have_text(
        "You're signed out of all other sessions."
    )
    theirs.goto("/dashboard")
    theirs.wait_for_url(on("/login?redirectTo=/dashboard"))


def test_everything_is_signed_out_after_a_question(
    context: BrowserContext, other: BrowserContext, mailbox: Mailbox
) -> None:
    address = member(context, mailbox)
    post(other, "/api/session/sign-in", email=address, password=PASSWORD)
    page = settings_of(context)
    everywhere = page.get_by_role("button", name="Sign out everywhere")
    everywhere.click()
    question = page.get_by_role("dialog", name="Sign out everywhere?")
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(question).not_to_be_visible()
    expect(everywhere).to_be_focused()
    everywhere.click()
    question.get_by_role("button", name="Sign out everywhere").click()
    page.wait_for_url(on("/login?notice=signed_out_everywhere"))
    expect(page.get_by_text("You're signed out everywhere.")).to_be_visible()
    theirs = other.new_page()
    theirs.goto("/settings")
    theirs.wait_for_url(on("/login?redirectTo=/settings"))


def test_a_form_of_an_ended_session_leads_to_sign_in_and_back(
    context: BrowserContext, mailbox: Mailbox
) -> None:
    address = member(context, mailbox)
    page = settings_of(context)
    form = card(page, "Password")
    form.get_by_label("Current password", exact=True).fill(PASSWORD)
    form.get_by_label("New password", exact=True).fill(ANOTHER)
    post(context, "/api/session/sign-out")
    form.get_by_role("button", name="Change password").click()
    page.wait_for_url(re.compile("/login"))
    expect(page.get_by_role("alert")).to_have_text("You're signed out. Sign in to continue.")
    sign_in(page, address)
    page.wait_for_url(on("/settings"))


def test_the_choice_of_colours_stays(context: BrowserContext, mailbox: Mailbox) -> None:
    member(context, mailbox)
    page = settings_of(context)
    root, dark = page.locator("html"), re.compile(r"\bdark\b")
    expect(page.get_by_role("radio", name="System")).to_be_checked()
    page.get_by_role("radio", name="Dark").check()
    expect(root).to_have_class(dark)
    page.reload()
    expect(page.get_by_role("radio", name="Dark")).to_be_checked()
    expect(root).to_have_class(dark)
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.get_by_role("radio", name="Light")).to_be_checked()
    expect(root).not_to_have_class(dark)


# Captcha


def test_no_captcha_is_loaded_where_none_is_set(context: BrowserContext) -> None:
    page, asked = context.new_page(), list[str]()
    page.on("request", lambda request: asked.append(urlsplit(request.url).netloc))
    page.goto("/login")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    assert len(set(asked)) == 1


@pytest.fixture(scope="module")
def with_captcha(instance: Running, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Another process of the same install, whose forms have a captcha."""
    parts = {name: value for name, value in instance.env.items() if name != "EMBEDDED_PARTS"}
    with started(tmp_path_factory.mktemp("captcha"), **parts, **CAPTCHA) as address:
        yield address


def answers_sent(page: Page) -> Callable[[str], list[str]]:
    """With a fake of the vendor, which nothing here calls: a script from its address, which our
    policy lets in. What came with the forms to a route."""
    sent = list[Request]()
    page.route(
        "https://challenges.cloudflare.com/**",
        lambda route: route.fulfill(body=TURNSTILE, content_type="text/javascript"),
    )
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)

    def answers(path: str) -> list[str]:
        forms = [each for each in sent if urlsplit(each.url).path == f"/api/{path}"]
        return [parse_qs(each.post_data or "")["captcha"][0] for each in forms]

    return answers


def test_the_answer_of_a_captcha_goes_along(context: BrowserContext, with_captcha: str) -> None:
    page = context.new_page()
    answers = answers_sent(page)
    page.goto(f"{with_captcha}/login")
    expect(page.get_by_text("I am human, says the-site-key")).to_be_visible()
    answer = page.locator("input[name=captcha]")
    expect(answer).to_have_value("answer-1")
    sign_in(page, someone(), "wrong")
    expect(page.get_by_role("alert")).to_have_attribute("data-code", "invalid_credentials")
    # It was good for one form; the next has one of its own, and so has a form that waited too long.
    expect(answer).to_have_value("answer-2")
    page.evaluate("turnstile.growOld()")
    expect(answer).to_have_value("answer-3")
    page.get_by_role("button", name="Email me a sign-in link").click()
    expect(page.get_by_role("heading", name="Check your email")).to_be_visible()
    page.goto(f"{with_captcha}/reset")
    expect(answer).to_have_value("answer-1")
    page.get_by_label("Email").fill(someone())
    page.get_by_role("button", name="Send reset link").click()
    expect(page.get_by_role("heading", name="Check your email")).to_be_visible()
    page.goto(f"{with_captcha}/signup")
    expect(answer).to_have_value("answer-1")
    page.get_by_label("Full name").fill("Ada")
    fill_in(page, someone())
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Check your email")).to_be_visible()
    assert answers("session/sign-in") == ["answer-1"]
    assert answers("session/magic-link") == ["answer-3"]
    assert answers("session/reset") == answers("session/sign-up") == ["answer-1"]


def test_the_answer_goes_along_where_a_password_is_asked_for(
    context: BrowserContext, mailbox: Mailbox, with_captcha: str
) -> None:
    # The two processes are one install on one host, so the session counts at both.
    member(context, mailbox)
    page = context.new_page()
    answers = answers_sent(page)
    page.goto(f"{with_captcha}/settings")
    answered: dict[str, str] = {}
    for title, button in (("Email", "Change email address"), ("Password", "Change password")):
        form = card(page, title)
        expect(form.locator("input[name=captcha]")).to_have_value(re.compile("answer"))
        answered[title] = form.locator("input[name=captcha]").input_value()
        form.get_by_label("Current password", exact=True).fill("wrong")
        new = "New email" if title == "Email" else "New password"
        form.get_by_label(new, exact=True).fill(someone())
        form.get_by_role("button", name=button).click()
        expect(form.get_by_role("alert")).to_have_text("Your current password is incorrect.")
    assert answers("account/address") == [answered["Email"]]
    assert answers("account/password") == [answered["Password"]]


def test_a_captcha_that_does_not_load_is_no_riddle(
    context: BrowserContext, with_captcha: str
) -> None:
    page = context.new_page()
    page.route("https://challenges.cloudflare.com/**", lambda route: route.fulfill(status=404))
    page.goto(f"{with_captcha}/login")
    expect(page.get_by_text("We couldn't load the check that you're human")).to_be_visible()
    sign_in(page, someone())
    expect(page.get_by_text("Complete the check that you're human first.")).to_be_visible()
