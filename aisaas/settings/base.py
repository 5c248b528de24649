"""What every group of fields shares: where values come from, and that a blank one is not set."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent


class FieldGroup(BaseSettings):
    """Fields about one subject. Field `x_y` is the variable `X_Y`."""

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    # A validator of the class runs before those in a field's annotation, which therefore see no blanks.
    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """A blank variable means "not set"; blanks around a value came with pasting it."""
        if isinstance(value, str):
            value = value.strip()
            if not value and info.field_name is not None:
                return cls.model_fields[info.field_name].get_default()
        return value
