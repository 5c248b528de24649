"""Files that a browser or a crawler looks for by name, and that have the site's name or address."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from aisaas.api.paths import API, CONFIRM, HOME, PROTECTED, RESET
from aisaas.api.serving import services_of

PAPER = "#fbfaf8"
UNLISTED = (*PROTECTED, RESET, CONFIRM, API)


async def robots(_: Request) -> PlainTextResponse:
    return PlainTextResponse(
        "\n".join(["User-agent: *", *(f"Disallow: {path}" for path in UNLISTED), ""])
    )


async def manifest(request: Request) -> JSONResponse:
    """A web app manifest: what a phone needs to put the chat on its home screen."""
    name = services_of(request).settings.app_name
    icons = [
        {"src": f"/icons/{size}.png", "sizes": f"{size}x{size}", "type": "image/png"}
        for size in (192, 512)
    ]
    masked = {**icons[-1], "src": "/icons/maskable.png", "purpose": "maskable"}
    return JSONResponse(
        {
            "name": name,
            "short_name": name,
            "id": HOME,
            "start_url": "/chat",
            "scope": HOME,
            "display": "standalone",
            "background_color": PAPER,
            "theme_color": PAPER,
            "icons": [*icons, masked],
        },
        media_type="application/manifest+json",
    )


def routes() -> list[Route]:
    return [Route("/robots.txt", robots), Route("/manifest.webmanifest", manifest)]
