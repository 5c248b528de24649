"""Signing in: sign in, sign up, reset a password, follow an email link."""
