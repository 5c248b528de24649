"""The server's settings, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.serving import LOOPBACK, CannotStartError, read_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Secrets are kept out of `repr`. An endpoint without an address is not preset."""

    port: int
    data_dir: Path
    key: str = field(repr=False)
    webhook_url: str = ""
    webhook_secret: str = field(default="", repr=False)
    thin_webhook_url: str = ""
    thin_webhook_secret: str = field(default="", repr=False)
    # Whether an answer that isn't as the SDK's types say fails.
    strict: bool = False

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


class MisconfiguredError(CannotStartError):
    """Variables that are missing or malformed; the message names them all in one line."""


def read_config(environment: Mapping[str, str]) -> Config:
    """Raises `MisconfiguredError`."""
    wrong: list[str] = []
    port = 0
    try:
        port = read_port(environment, "PAYMENTS_PORT")
    except ValueError as error:
        wrong.append(str(error))
    wrong += [
        f"{name} is missing"
        for name in ("PAYMENTS_DATA_DIR", "PAYMENTS_KEY")
        if not environment.get(name)
    ]
    wrong += [
        f"{prefix}_SECRET is missing, but {prefix}_URL is set"
        for prefix in ("PAYMENTS_WEBHOOK", "PAYMENTS_THIN_WEBHOOK")
        if environment.get(f"{prefix}_URL") and not environment.get(f"{prefix}_SECRET")
    ]
    if wrong:
        raise MisconfiguredError("; ".join(wrong))
    return Config(
        port=port,
        data_dir=Path(environment["PAYMENTS_DATA_DIR"]),
        key=environment["PAYMENTS_KEY"],
        webhook_url=environment.get("PAYMENTS_WEBHOOK_URL", ""),
        webhook_secret=environment.get("PAYMENTS_WEBHOOK_SECRET", ""),
        thin_webhook_url=environment.get("PAYMENTS_THIN_WEBHOOK_URL", ""),
        thin_webhook_secret=environment.get("PAYMENTS_THIN_WEBHOOK_SECRET", ""),
        strict=environment.get("PAYMENTS_STRICT") == "true",
    )
