"""What every endpoint is handed."""

from dataclasses import dataclass

from devstack.auth.config import Config
from devstack.auth.database import Database
from devstack.auth.passwords import Passwords
from devstack.auth.tokens import Keyring


@dataclass(frozen=True, slots=True)
class Services:
    config: Config
    database: Database
    keyring: Keyring
    passwords: Passwords
