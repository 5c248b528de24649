"""Emails about billing: recorded with the fact, sent later."""
