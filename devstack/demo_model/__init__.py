"""A model that needs no account: canned answers behind OpenAI's HTTP interface, on loopback.

It is there so that a first run can chat, and so that tests can meet every way in which a provider
behaves: slow, silent, stalled, cut off, failing. Its text is the same for the same conversation,
and its tokens can be counted from outside (see `tokens.py`).

Invariant: every answer says that it is canned, and how to get a real model.
"""
