"""A Supabase-Auth-compatible server for development, on the embedded Postgres.

It speaks the part of the hosted contract which the product uses, over HTTP, so that
`SUPABASE_URL=http://127.0.0.1:PORT` is all the difference there is. Third-party providers are stood
in for by a page of its own. Not here, on purpose: phone sign-in, single sign-on.

Invariants: loopback and development only; passwords are argon2id, one-time codes and refresh
tokens are stored as hashes; no password, token or address of a user is ever logged.
"""

from pathlib import Path


def schema_path() -> Path:
    """Where the SQL is that makes (again and again, harmlessly) the tables of schema `auth`."""
    return Path(__file__).with_name("schema.sql")
