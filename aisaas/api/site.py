"""What the pages may know of this install before anybody has signed in: the settings' allow-list."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aisaas.settings import OAUTH_PROVIDERS
from aisaas.wiring import services


async def site(_: Request) -> JSONResponse:
    values = services().settings.browser_values()
    captcha = {"provider": values["captcha_provider"], "site_key": values["captcha_site_key"]}
    return JSONResponse(
        {
            "sign_up_mode": values["sign_up_mode"],
            "providers": [
                {"name": name, "label": OAUTH_PROVIDERS[name]}
                for name in values["oauth_providers"].split(",")
                if name
            ],
            "captcha": captcha if captcha["provider"] else None,
            "mailbox_url": values["mailbox_url"],
        }
    )


def routes() -> list[Route]:
    return [Route("/api/site", site)]
