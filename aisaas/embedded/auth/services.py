"""What every endpoint is handed."""

from dataclasses import dataclass

from aisaas.embedded.auth.config import Config
from aisaas.embedded.auth.database import Database
from aisaas.embedded.auth.passwords import Passwords
from aisaas.embedded.auth.tokens import Keyring


@dataclass(frozen=True, slots=True)
class Services:
    config: Config
    database: Database
    keyring: Keyring
    passwords: Passwords
