"""Who may sign up and how, and what one address or account may do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from aisaas.settings.base import FieldGroup
from aisaas.settings.values import Listed, problem

# Sign-in providers by the names that Supabase gives them, and as users know them.
OAUTH_PROVIDERS = {
    "apple": "Apple",
    "azure": "Microsoft",
    "bitbucket": "Bitbucket",
    "discord": "Discord",
    "facebook": "Facebook",
    "github": "GitHub",
    "gitlab": "GitLab",
    "google": "Google",
    "linkedin_oidc": "LinkedIn",
    "slack_oidc": "Slack",
}


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in OAUTH_PROVIDERS]:
        known = ", ".join(sorted(OAUTH_PROVIDERS))
        raise problem(f"doesn't know {', '.join(unknown)}; it knows {known}")
    return tuple(dict.fromkeys(names))


class AccountFields(FieldGroup):
    sign_up_mode: Literal["open", "invitation", "closed"] = "open"
    oauth_providers: Annotated[Listed, AfterValidator(_known)] = ()
    captcha_provider: Literal["turnstile", "hcaptcha"] | None = None
    captcha_site_key: Annotated[str, Field(max_length=200)] | None = None
    # Whether the embedded sign-in server wants addresses confirmed by mail.
    embedded_confirm_email: bool = False
    # Open connections per process, by address or account; at the limit the oldest is closed.
    connections_per_address: Annotated[int, Field(ge=8)] = 512
    sockets_per_address: Annotated[int, Field(ge=8)] = 300
    sockets_per_user: Annotated[int, Field(ge=2)] = 100
    sign_in_tries_per_account: Annotated[int, Field(ge=1)] = 10
    sign_in_tries_per_address: Annotated[int, Field(ge=1)] = 100
    sign_ups_per_address: Annotated[int, Field(ge=1)] = 20
    mails_per_account: Annotated[int, Field(ge=1)] = 5
    mails_per_address: Annotated[int, Field(ge=1)] = 30
