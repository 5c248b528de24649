"""Redis: no access without a password, no eviction, and little is lost in a restart."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

import redis

from aisaas.cli.checklist.configuration import is_near
from aisaas.cli.checklist.findings import Finding, fail, ok, skipped, warn
from aisaas.settings import Settings

ANSWER_SECONDS = 5
LOOK = "check your Redis host's settings: this user can't run CONFIG or INFO"


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        decode_responses=True,
    )


def look(config: Settings) -> Generator[Finding]:
    assert config.redis_url is not None
    url = config.redis_url.get_secret_value()
    client = connect(url)
    try:
        client.ping()  # pyright: ignore[reportUnknownMemberType]
        yield _encrypted(url)
        yield _password(url)
        said = _to_dict(client)
        yield _eviction(said)
        yield _persistence(said)
    except redis.AuthenticationError as error:
        # Redis also answers this if a password is sent but none is required.
        yield fail("Redis", f"rejected the sign-in: {error}", "check the password in REDIS_URL")
        yield _password(url)
    except redis.RedisError as error:
        yield fail(
            "Redis", f"can't be reached: {error}", "check REDIS_URL, and that Redis is running"
        )
    finally:
        client.close()


def _encrypted(url: str) -> Finding:
    if urlsplit(url).scheme == "rediss":
        return ok("Redis", "reachable, encrypted")
    if is_near(url):
        return ok("Redis", "reachable, not encrypted, in a private network")
    return fail(
        "Redis", "reachable over the internet, not encrypted", "use TLS: rediss:// in REDIS_URL"
    )


def _password(url: str) -> Finding:
    """Connects without one: that we send a password doesn't mean that Redis requires it."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    stranger = connect(bare)
    try:
        stranger.ping()  # pyright: ignore[reportUnknownMemberType]
    except (redis.AuthenticationError, redis.ResponseError):
        return ok("Redis password", "required")
    except redis.ConnectionError as error:
        return skipped("Redis password", f"unknown: {type(error).__name__}", LOOK)
    finally:
        stranger.close()
    return fail(
        "Redis password",
        "anyone who can reach it can connect without one",
        "set requirepass (or a user with a password), and put the password into REDIS_URL",
    )


def _to_dict(client: redis.Redis) -> Mapping[str, str]:
    """`maxmemory-policy`, `appendonly` and `save`, as far as this user may read them."""
    try:
        asked: Any = client.config_get("maxmemory-policy", "appendonly", "save")  # pyright: ignore[reportUnknownMemberType]
    except redis.ResponseError:
        return _from_info(client)
    return asked or _from_info(client)


def _from_info(client: redis.Redis) -> Mapping[str, str]:
    """Hosts that block CONFIG often allow INFO."""
    try:
        info: Any = client.info()  # pyright: ignore[reportUnknownMemberType]
    except redis.ResponseError:
        return {}
    found: dict[str, str] = {}
    if "maxmemory_policy" in info:
        found["maxmemory-policy"] = str(info["maxmemory_policy"])
    if "aof_enabled" in info:
        found["appendonly"] = "yes" if info["aof_enabled"] else "no"
    return found


def _eviction(said: Mapping[str, str]) -> Finding:
    policy = said.get("maxmemory-policy")
    if policy is None:
        return skipped("Redis eviction", "unknown", f"{LOOK}; it should be noeviction")
    if policy != "noeviction":
        return fail(
            "Redis eviction",
            f"{policy}: when Redis is full, it forgets rates and running text",
            "run CONFIG SET maxmemory-policy noeviction, and set it in the configuration file",
        )
    return ok("Redis eviction", policy)


def _persistence(said: Mapping[str, str]) -> Finding:
    appends, saves = said.get("appendonly"), said.get("save")
    if appends == "yes":
        return ok("Redis persistence", "append-only file")
    if appends is None or saves is None:
        return skipped("Redis persistence", "unknown", f"{LOOK}; appendonly should be yes")
    how = "snapshots only" if saves else "none"
    return warn(
        "Redis persistence",
        f"{how}: a restart forgets the day's rates and the text of running replies (no money)",
        "run CONFIG SET appendonly yes, and set it in the configuration file",
    )
