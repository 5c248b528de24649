"""What tests do in a browser: forms to our routes, answered in JSON."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx

from tests.accounts.conftest import PASSWORD, new_email

JSON = {"accept": "application/json"}


async def send(browser: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    return await browser.post(f"/api/{path}", data=fields, headers=JSON)


async def signed_up(browser: httpx.AsyncClient, email: str | None = None) -> str:
    """A new account, signed in; its address."""
    email = email or new_email()
    answer = await send(browser, "session/sign-up", email=email, password=PASSWORD, full_name="Ada")
    assert answer.status_code == 200, answer.text
    return email


async def signed_in(browser: httpx.AsyncClient, email: str, password: str = PASSWORD) -> bool:
    answer = await send(browser, "session/sign-in", email=email, password=password)
    return answer.status_code == 200


def asked(response: httpx.Response) -> dict[str, str]:
    """The query of where a redirect leads, with its path under ""."""
    assert response.status_code == 303
    where = urlsplit(response.headers["location"])
    return {"": where.path} | {name: one for name, (one,) in parse_qs(where.query).items()}


def cookies(browser: httpx.AsyncClient) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def another(browser: httpx.AsyncClient, address: str = "127.0.0.1") -> httpx.AsyncClient:
    """A browser with no cookies, at the same routes, maybe from another address."""
    transport = browser._transport  # pyright: ignore[reportPrivateUsage]
    assert isinstance(transport, httpx.ASGITransport)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(transport.app, client=(address, 5000)),
        base_url=browser.base_url,
    )


async def user_of(browser: httpx.AsyncClient) -> UUID:
    from aisaas.wiring import services

    return (await services().accounts.principal(cookies(browser))).user_id
