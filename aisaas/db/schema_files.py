"""What table classes can't express, in separate files in `alembic`: functions, and each table's
triggers, policies and grants.

A migration applies files by the digest of their text. A file that changed since is left to the
later migration that names the new digest and knows what the new text needs. So each file is applied
once, in the transaction of its migration, and the schema version says which text a database has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

from aisaas.db import migrate
from alembic import op

FOLDERS = ("functions", "tables")
DIGEST_LENGTH = 12


def apply(files: Mapping[str, str]) -> None:
    """Apply those of the files, like `functions/reserve.sql`, that still have the digest given here."""
    current = digests()
    for name, digest in files.items():
        if current.get(name) == digest:
            text = (migrate.SCRIPTS / name).read_text(encoding="utf-8")
            op.get_bind().exec_driver_sql(text, execution_options={"no_parameters": True})


def digests() -> dict[str, str]:
    """Functions first: triggers need them."""
    return {
        f"{folder}/{path.name}": sha256(path.read_text(encoding="utf-8").encode()).hexdigest()[
            :DIGEST_LENGTH
        ]
        for folder in FOLDERS
        for path in sorted((migrate.SCRIPTS / folder).glob("*.sql"))
    }


def unapplied() -> dict[str, str]:
    """The files whose text no migration applies, with their digests."""
    versions = sorted((migrate.SCRIPTS / "versions").glob("*.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in versions)
    named = dict(re.findall(r'"((?:functions|tables)/[\w.]+\.sql)": "([0-9a-f]+)"', text))
    return {name: digest for name, digest in digests().items() if named.get(name) != digest}
