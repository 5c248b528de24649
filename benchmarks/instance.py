"""Several processes of the product behind one database and one Redis, as in production.

`run` starts one process with embedded parts; here the same parts stand behind `APP_ENV=preview`,
where nothing counts as embedded. The demo model answers under the name of a real provider. The front end must have been built; nothing is built here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aisaas.db.migrate import upgrade
from aisaas.process.server import app_process
from childprocess.ports import HOST, free_port
from childprocess.processes import Process, Service
from devstack.stack import Stack

GRACE_SECONDS = 2.0
MODEL = "demo"
CATALOGUE = [
    {
        "id": MODEL,
        "label": "Demo",
        "provider": "openai",
        "upstream": "openai/demo",
        "context_window": 16_000,
        "max_output": 8192,
        "weight": "1",
        "plans": ["free", "pro", "business"],
        "fallback": None,
        "price": {"input_usd": "0.15", "output_usd": "0.60", "version": "demo-1"},
    }
]
# Limits that a measurement doesn't run into.
GENEROUS = {
    "FREE_TOKENS_PER_MONTH": "1000000000",
    "FREE_REQUESTS_PER_MINUTE": "1000000",
    "FREE_REQUESTS_PER_DAY": "1000000",
    "FREE_TIER_DAILY_USD": "100000",
    "TOTAL_DAILY_USD": "100000",
    "SIGN_UPS_PER_ADDRESS": "1000000",
}


@dataclass(frozen=True)
class Instance:
    """`url` is where the front end's origin is; `workers` answer at their own ports."""

    stack: Stack
    url: str
    workers: tuple[Process, ...]
    env: Mapping[str, str] = field(repr=False)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"http://{HOST}:{worker.service.port}" for worker in self.workers)

    @property
    def ports(self) -> tuple[int, ...]:
        return tuple(worker.service.port for worker in self.workers)

    @property
    def pids(self) -> tuple[int | None, ...]:
        """Of the servers; the processes which run the app are their children."""
        return tuple(worker.pid for worker in self.workers)


@contextmanager
def instance(
    folder: Path, *, workers: int, url: str | None = None, stack: Stack | None = None, **env: str
) -> Generator[Instance]:
    """Run `workers` processes inside the block.

    Args:
        folder: for data, logs and the catalogue.
        workers: how many, each with a port of its own.
        url: the address users type, when something stands before the workers.
        stack: parts that are running and migrated already, instead of new ones.
        env: settings by variable, over the generous defaults.
    """
    with ExitStack() as undo:
        ports = tuple(free_port() for _ in range(workers))
        origins = [f"http://{HOST}:{port}" for port in ports]
        if stack is None:
            made = Stack(folder / "data", site_url=url or origins[0], avoid_ports=ports)
            stack = undo.enter_context(made)
            upgrade(stack.env["MIGRATION_DATABASE_URL"])
        shared = environment(folder, stack, url or origins[0], origins) | env
        processes = tuple(
            Process(_worker(number, port, shared, folder)) for number, port in enumerate(ports)
        )
        for process in processes:
            undo.callback(process.stop)
            process.spawn()
        for process in processes:
            process.wait_until_it_answers()
        yield Instance(stack, shared["APP_URL"], processes, shared)


def environment(
    folder: Path, stack: Stack, url: str, origins: Sequence[str] = ()
) -> dict[str, str]:
    """The settings of a preview at `url` with the parts of `stack`; its limits are generous."""
    catalogue = folder / "catalogue.json"
    catalogue.write_text(json.dumps(CATALOGUE))
    return {
        **{name: value for name, value in stack.env.items() if name not in _EMBEDDED_ONLY},
        "APP_ENV": "preview",
        "APP_URL": url,
        "ALLOWED_ORIGINS": ",".join(origins),
        "OPENAI_API_KEY": stack.env["DEMO_API_KEY"],
        "OPENAI_API_BASE": stack.env["DEMO_API_BASE"],
        "MODEL_CATALOGUE": str(catalogue),
        "DEFAULT_MODEL": MODEL,
        "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
        **GENEROUS,
    }


_EMBEDDED_ONLY = {
    *("DEMO_API_BASE", "DEMO_API_KEY", "MAILBOX_URL", "PAYMENTS_URL", "EMBEDDED_PARTS"),
}


def _worker(number: int, port: int, settings: Mapping[str, str], folder: Path) -> Service:
    inherited = {name: v for name, v in os.environ.items() if name not in _EMBEDDED_ONLY}
    return app_process(
        f"worker{number}",
        f"Worker {number}",
        port=port,
        grace=float(settings["SHUTDOWN_GRACE_SECONDS"]),
        env={**inherited, **settings, "PORT": str(port)},
        log=folder / f"worker{number}.log",
    )
