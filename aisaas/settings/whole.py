"""The settings as a whole: sound together, what of them is secret, and what a browser may know."""

from __future__ import annotations

from typing import Self

from pydantic import SecretStr, model_validator

from aisaas import providers
from aisaas.settings import cross_checks
from aisaas.settings.fields import Fields
from aisaas.settings.values import listed, problem

# Each may hold several, comma separated, while one is being replaced.
LISTS_OF_SECRETS = {
    "session_secret_previous",
    "stripe_webhook_secret",
    "stripe_meter_webhook_secret",
}


class Settings(Fields):
    """What the operator decided. Field `x_y` is the variable `X_Y`."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if problems := [*self.read_providers_file(), *cross_checks.problems(self)]:
            # One custom error carries all of them, so that they are reported together.
            raise problem("\n".join(problems))
        return self

    def secrets(self) -> tuple[tuple[str, str], ...]:
        """(variable, value) of every secret, to prove that none reached the front end.

        The publishable key is a SecretStr only so that it stays out of logs; it is no secret.
        """
        found: list[tuple[str, str]] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr) and name != "supabase_publishable_key":
                # A leaked list item appears without its neighbors, so match each one.
                each = listed(value) if name in LISTS_OF_SECRETS else (value.get_secret_value(),)
                found += [(name.upper(), secret) for secret in each]
        return (*found, *providers.secrets_of(self.file_providers))

    def browser_values(self) -> dict[str, str]:
        """The allow-list: all that a browser may know of these settings."""
        return self.built_values() | {
            "sign_up_mode": self.sign_up_mode,
            "oauth_providers": ",".join(self.oauth_providers),
            "captcha_provider": self.captcha_provider or "",
            "captcha_site_key": self.captcha_site_key or "",
            "terms_url": self.terms_url or "",
            "privacy_url": self.privacy_url or "",
            "contact_email": self.contact_email or "",
            # Only where mails don't leave the machine anyway.
            "mailbox_url": (self.mailbox_url or "") if self.app_env == "development" else "",
            "payments_url": (self.payments_url or "") if self.app_env == "development" else "",
        }
