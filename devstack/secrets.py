"""The passwords and keys of an install, made at its first start and then kept in its folder."""

from __future__ import annotations

import secrets

from childprocess.errors import StartError
from childprocess.files import damaged
from childprocess.folder import DataFolder


def _token(prefix: str = "") -> str:
    return prefix + secrets.token_hex(24)


SUPERUSER_PASSWORD = "postgres_superuser_password"  # noqa: S105  # its name, not its value
# Each is made once and then kept: a password that changed would lock the data out.
SECRETS = {
    SUPERUSER_PASSWORD: "",
    "postgres_password": "",
    "auth_admin_password": "",
    "app_password": "",
    "service_password": "",
    "redis_password": "",
    "publishable_key": "sb_publishable_",
    "secret_key": "sb_secret_",
    "demo_key": "demo-",
    "payments_key": "sk_test_",
    "webhook_secret": "whsec_",
    "meter_webhook_secret": "whsec_",
    "session_secret": "",
}


def folder_secrets(folder: DataFolder, *, kept: bool) -> dict[str, str]:
    """The secrets of a folder, created at the first call.

    `kept` says that data protected by them exists, so that they can't be regenerated.

    Raises:
        StartError: the file is unreadable, damaged, or missing although `kept`.
    """
    path = folder.path / "secrets.json"
    if not path.exists() and kept:
        raise StartError(
            f"{path} is missing, but the database beside it exists and its passwords were in "
            "that file. Put the file back from a backup, or move the whole folder "
            f"{folder.path} away to begin with an empty one. Nothing was changed."
        )
    known = folder.read_json(path.name) if path.exists() else {}
    wrong = [name for name in known if not isinstance(known[name], str) or not known[name]]
    # The other passwords are reset at each start; this one is needed to set them.
    if wrong or (kept and SUPERUSER_PASSWORD not in known):
        raise StartError(damaged(path, "a value in it is missing or is not text"))
    missing = {name: _token(SECRETS[name]) for name in SECRETS if name not in known}
    if missing:
        known |= missing
        folder.write_json(path.name, known)
    return known
