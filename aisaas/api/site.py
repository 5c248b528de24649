"""What the pages may know of this install before anybody has signed in: the settings' allow-list."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aisaas.billing.plans import plans
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
            "plans": _plans(),
        }
    )


def _plans() -> list[dict[str, object]]:
    """What is sold, the cheapest first; nothing where nothing is. Amounts in USD as text."""
    if services().payments is None:
        return []
    return [
        {
            "label": plan.label,
            "price": str(plan.price.base_usd) if plan.price else "0",
            "tokens": plan.tokens_per_month,
            "overage": str(plan.price.overage_usd_per_million) if plan.price else None,
            "trial_days": plan.price.trial_days if plan.price else 0,
            "trial_tokens": plan.price.trial_tokens if plan.price else 0,
        }
        for plan in plans(services().settings).values()
    ]


def routes() -> list[Route]:
    return [Route("/api/site", site)]
