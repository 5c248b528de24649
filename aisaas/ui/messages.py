"""What a code in a page's address means. Nothing else of an address is ever shown."""

from __future__ import annotations

import json

_START_AGAIN = "That sign-in has expired. Start again."
_SLOWER = "Too many attempts. Wait a few minutes and try again."

ERRORS = {
    "access_denied": "You canceled the sign-in.",
    "bad_code_verifier": "That sign-in was started in another browser. Start again here.",
    "bad_oauth_state": _START_AGAIN,
    "busy": "We're handling more requests than usual. Try again in a moment.",
    "captcha_failed": "We couldn't verify that you're human. Try again.",
    "current_password_wrong": "Your current password is incorrect.",
    "email_address_invalid": "We can't use that email address. Try another one.",
    "email_exists": "An account with that email address already exists.",
    "email_not_confirmed": "Confirm your email address first. We sent you a link.",
    "flow_state_expired": _START_AGAIN,
    "flow_state_not_found": _START_AGAIN,
    "invalid_credentials": "Incorrect email or password.",
    "otp_expired": "That link has expired or was already used. Request a new one.",
    "over_email_send_rate_limit": "You've requested too many emails. Wait a minute and try again.",
    "over_request_rate_limit": _SLOWER,
    "password_common": "That password is too common, so it's easy to guess. Choose another one.",
    "password_personal": (
        "Don't use your name, your email address, or this site's name as your password."
    ),
    "password_too_long": (
        "Your password is too long. It can have up to 72 bytes: that's 72 Latin letters, or 36 "
        "Cyrillic ones."
    ),
    "picture_invalid": "Choose a PNG, JPEG, or WebP picture of up to 256 KB.",
    "provider_disabled": "That sign-in method isn't available.",
    "provider_email_needs_verification": (
        "That provider hasn't verified your email address. Open the link we emailed you, or sign in "
        "another way."
    ),
    "provider_failed": (
        "The provider didn't complete the sign-in. Try again, or sign in another way."
    ),
    "same_password": "That's already your password. Choose another one.",
    "signup_disabled": "You don't have an account here, and sign-up is closed.",
    "too_many_tries": _SLOWER,
    "unauthenticated": "You're signed out. Sign in to continue.",
    "unavailable": "Something on our side isn't responding. Try again in a moment.",
    "user_already_exists": "An account with that email address already exists. Sign in instead.",
    "user_banned": "Your account is suspended. Contact support.",
    "validation_failed": "Something is missing or incorrect. Check your entries and try again.",
    "visit_lost": _START_AGAIN,
    "weak_password": "Use at least 8 characters for your password.",
}
SOME_ERROR = "That didn't work. Try again."

NOTICES = {
    "address_changed": "Your email address has been changed.",
    "address_sent": "Check your email to confirm the change of your address.",
    "confirm": "We sent you a link. Open it to confirm your email address.",
    "link_sent": "If that address has an account, we've sent it a link.",
    "one_more": "One more step: open the link we sent to your other address.",
    "others_signed_out": "You're signed out of all other sessions.",
    "password_changed": "Your password has been changed. You're signed out of all other sessions.",
    "picture_changed": "Your picture has been changed.",
    "picture_removed": "Your picture has been removed.",
    "session_ended": "That session has been signed out.",
    "signed_out_everywhere": "You're signed out everywhere.",
}


def module() -> str:
    """All of them for the pages' scripts."""
    named = {"ERRORS": ERRORS, "SOME_ERROR": SOME_ERROR, "NOTICES": NOTICES}
    return "".join(f"export const {name} = {json.dumps(value)};\n" for name, value in named.items())
