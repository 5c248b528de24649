"""What pages may know about this install before sign-in: the settings' allow-list."""

from __future__ import annotations

from decimal import Decimal

from aisaas import formats
from aisaas.billing.plans.terms import plans
from aisaas.settings import OAUTH_PROVIDERS
from aisaas.wiring import Services


def site(services: Services) -> dict[str, object]:
    """Travels in every page (`api.pages`), so that no page has to ask for it."""
    values = services.settings.browser_values()
    captcha = {"provider": values["captcha_provider"], "site_key": values["captcha_site_key"]}
    return {
        "sign_up_mode": values["sign_up_mode"],
        "providers": [
            {"name": name, "label": OAUTH_PROVIDERS[name]}
            for name in values["oauth_providers"].split(",")
            if name
        ],
        "captcha": captcha if captcha["provider"] else None,
        "mailbox_url": values["mailbox_url"],
        "terms_url": values["terms_url"],
        "privacy_url": values["privacy_url"],
        "contact_email": values["contact_email"],
        "plans": _plans(services),
    }


def _plans(services: Services) -> list[dict[str, object]]:
    """The plans on sale, the cheapest first, if any. Amounts are formatted."""
    if services.payments is None:
        return []
    sold = list(plans(services.settings).values())
    # The first that costs something is enough for most.
    recommended = next((plan.id for plan in sold if plan.price), None)
    return [
        {
            "label": plan.label,
            "price": formats.price(plan.price.base_usd if plan.price else Decimal()),
            "tokens": f"{plan.tokens_per_month:,}",
            "overage": formats.price(plan.price.overage_usd_per_million) if plan.price else "",
            "trial_days": plan.price.trial_days if plan.price else 0,
            "trial_tokens": f"{plan.price.trial_tokens if plan.price else 0:,}",
            "recommended": plan.id == recommended,
        }
        for plan in sold
    ]
