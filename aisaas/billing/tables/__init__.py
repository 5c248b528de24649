"""Billing's tables, by subject."""
