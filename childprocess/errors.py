"""Errors while starting the embedded parts, in words an operator can act on."""

from __future__ import annotations


class StartError(Exception):
    """One clear paragraph: what happened, where, what to do. Shown without a stack trace."""
