"""Email addresses as the auth server stores them: ASCII, with an internationalized domain as xn--."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email

NOT_AN_ADDRESS = "Enter a full email address, like ada@example.com."
NOT_ASCII = "The part of an email address before the @ can only have unaccented Latin letters, digits, and symbols."


def ascii_address(text: str) -> str:
    """`ada@bücher.example` as `ada@xn--bcher-kva.example`. Raises ValueError with a sentence."""
    local = text.strip().partition("@")[0]
    try:
        found = validate_email(text.strip(), check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise ValueError(NOT_AN_ADDRESS if local.isascii() else NOT_ASCII) from error
    if found.ascii_email is None:
        raise ValueError(NOT_ASCII)
    return found.ascii_email
