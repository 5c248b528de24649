"""The Stripe fake as a process of its own, and Stripe's SDK to speak to it."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from stripe import HTTPXClient, StripeClient, StripeError

from childprocess.ports import free_port
from devstack.tests.servers import running

MODULE = "devstack.stripe_fake"
KEY = "sk_test_of_the_tests"
Error = TypeVar("Error", bound=StripeError)


@dataclass(slots=True)
class Counterpart:
    """One that runs; `kill` and `start` as often as one likes, with the same books."""

    url: str
    variables: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def variables_for(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PAYMENTS_PORT": str(free_port()),
        "PAYMENTS_DATA_DIR": str(folder),
        "PAYMENTS_KEY": KEY,
        "PAYMENTS_STRICT": "true",
        **more,
    }


@contextmanager
def counterpart(variables: Mapping[str, str]) -> Generator[Counterpart]:
    url = f"http://127.0.0.1:{variables['PAYMENTS_PORT']}"
    log = Path(variables["PAYMENTS_DATA_DIR"]).with_suffix(".log")
    with running(MODULE, variables, health=f"{url}/health", log=log) as process:
        yield Counterpart(url, variables, log, process)


@asynccontextmanager
async def sdk(url: str, key: str = KEY, retries: int = 0) -> AsyncIterator[StripeClient]:
    http = HTTPXClient(timeout=60)
    addresses: Any = dict.fromkeys(("api", "files", "connect", "meter_events"), url)
    yield StripeClient(key, base_addresses=addresses, http_client=http, max_network_retries=retries)
    await http.close_async()


@asynccontextmanager
async def control(url: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    base = f"{url}/_control"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
        yield client


async def refused(kind: type[Error], call: Awaitable[object]) -> Error:
    with pytest.raises(kind) as caught:
        await call
    return caught.value


async def until(true: Callable[[], Any]) -> Any:
    """Poll until it holds."""
    deadline = time.monotonic() + 60
    while not (found := true()):
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.02)
    return found
