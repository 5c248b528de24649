"""The tests' browser, before anything relies on it."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import async_playwright

from devstack.chromium import chromium_path


async def test_browser_renders_a_page_and_takes_a_screenshot(tmp_path: Path) -> None:
    executable, arguments = chromium_path()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=arguments)
        page = await browser.new_page()
        await page.set_content(
            "<h1>Hello</h1><button onclick='this.textContent = 1 + 1'>add</button>"
        )
        await page.click("button")
        assert await page.inner_text("button") == "2"
        assert await page.locator("h1").bounding_box() is not None
        await page.screenshot(path=tmp_path / "shot.png")
        await browser.close()
    assert (tmp_path / "shot.png").stat().st_size > 1000
