"""The books of the Stripe fake: whole transactions, and time that can be moved."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devstack.stripe_fake import meter_events, meters
from devstack.stripe_fake.answers import WrongAnswerError, check
from devstack.stripe_fake.app import build_app
from devstack.stripe_fake.books import Books, Due
from devstack.stripe_fake.clock import Clock
from devstack.stripe_fake.config import Config
from devstack.stripe_fake.delivery import Deliverer
from devstack.stripe_fake.errors import PaymentsError
from devstack.stripe_fake.operations import Call
from devstack.stripe_fake.services import Services
from devstack.tests.payments_client import KEY

HOUR = 3600


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path / "books.sqlite")
    yield made
    made.close()


METER = {
    "display_name": "Tokens",
    "event_name": "tokens",
    "default_aggregation": {"formula": "sum"},
}


def called(books: Books, **params: object) -> Call:
    return Call(books=books, key="", base_url="", path={}, params=params)


def thing(books: Books, name: str, **more: object) -> dict[str, object]:
    return {"object": "thing", "id": name, "created": books.now(), **more}


def coupon(books: Books, name: str, **more: object) -> dict[str, object]:
    fixed = {"duration": "once", "livemode": False, "times_redeemed": 0, "valid": True}
    return thing(books, name, **fixed) | {"object": "coupon", **more}


def test_what_raises_leaves_nothing_behind(books: Books, tmp_path: Path) -> None:
    committed: list[str] = []
    books.after_commit.append(lambda: committed.append("committed"))
    with books.transaction():
        books.add(thing(books, "kept", size=1))

    def fail_in_the_middle() -> None:
        with books.transaction():
            books.save(thing(books, "kept", size=2))
            books.add(thing(books, "lost"))
            books.emit("coupon.created", coupon(books, "lost"))
            books.need("thing", "nowhere")

    with pytest.raises(PaymentsError):
        fail_in_the_middle()
    assert committed == ["committed"]
    again = Books(tmp_path / "books.sqlite")
    for each in (books, again):
        assert [found["id"] for found in each.all("thing")] == ["kept"]
        assert each.need("thing", "kept")["size"] == 1
        assert each.all("event") == []
    again.close()


def test_what_is_its_own_is_kept_and_never_shown(books: Books) -> None:
    with books.transaction():
        event = books.emit("coupon.created", coupon(books, "x", _secret="s", metadata={"_own": 1}))
    assert "_secret" not in event["data"]["object"]
    assert event["data"]["object"]["metadata"] == {}


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"applies_to": {}}, "coupon.applies_to.products: missing"),
        ({"colour": "red"}, "coupon.colour: unknown"),
        ({"duration": "a while"}, "coupon.duration: not one of forever, once, repeating"),
        ({"times_redeemed": None}, "coupon.times_redeemed: NoneType instead of int"),
        ({"valid": 1}, "coupon.valid: int instead of bool"),
        ({"currency": ["usd"]}, "coupon.currency: list instead of str"),
        ({"metadata": {"a": 1}}, "coupon.metadata.a: int instead of str"),
        ({"deleted": True}, "coupon.valid: wrong when deleted"),
    ],
)
def test_answer_that_stripe_would_not_give_is_a_bug(
    books: Books, more: dict[str, object], wrong: str
) -> None:
    check(coupon(books, "x"), strict=True)
    bad = coupon(books, "x", **more)
    with pytest.raises(WrongAnswerError) as alone:
        check(bad, strict=True)
    assert wrong in str(alone.value).split("; ")
    listed = {"object": "list", "data": [bad], "has_more": False, "url": "/v1/coupons"}
    with pytest.raises(WrongAnswerError) as in_list:
        check(listed, strict=True)
    assert wrong.replace("coupon.", "list.data.0.", 1) in str(in_list.value).split("; ")
    with pytest.raises(WrongAnswerError) as raised, books.transaction():
        books.emit("coupon.created", bad)
    assert wrong.replace("coupon.", "event.data.object.", 1) in str(raised.value).split("; ")
    assert books.all("event") == []
    check(bad, strict=False)


def test_list_inside_an_object_has_what_it_is_of(books: Books) -> None:
    listed = {"object": "list", "data": [coupon(books, "x")], "has_more": False, "url": "/v1"}
    customer = {"object": "customer", "id": "cus_1", "created": 1, "livemode": False}
    check(customer, strict=True)
    with pytest.raises(WrongAnswerError, match=r"tax_ids\.data\.0\.object: not one of tax_id"):
        check(customer | {"tax_ids": listed}, strict=True)


@pytest.mark.parametrize(("strict", "status"), [(True, 500), (False, 200)])
async def test_call_with_a_wrong_answer_fails_in_tests_and_goes_on_elsewhere(
    tmp_path: Path, strict: bool, status: int
) -> None:
    books = Books(tmp_path / "other.sqlite", strict=strict)
    books.add({"object": "customer", "id": "cus_1", "name": "Ada"})
    config = Config(port=1, data_dir=tmp_path, key=KEY, strict=strict)
    app = build_app(Services(config, books, Deliverer(books)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url=config.base_url,
        headers={"authorization": f"Bearer {KEY}"},
    ) as http:
        assert (await http.get("/v1/customers/cus_1")).status_code == status
    books.close()


def test_answer_lacks_nothing_that_stripe_always_gives(books: Books) -> None:
    whole = coupon(books, "x")
    for name in whole.keys() - {"object"}:
        without = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(WrongAnswerError, match=rf"^coupon\.{name}: missing$"):
            check(without, strict=True)
    with pytest.raises(WrongAnswerError, match="colour: unknown"):
        books.emit("coupon.updated", whole, {"colour": "red"})
    with pytest.raises(WrongAnswerError, match="valid: str instead of bool"):
        books.emit("coupon.updated", whole, {"valid": "yes"})


def test_an_instant_before_a_move_is_not_moved() -> None:
    clock = Clock([(1000, 500), (2000, 700)])
    assert [clock.virtual(at) for at in (999, 1000, 1999, 2000)] == [999, 1500, 2499, 2700]


async def test_what_falls_due_is_done_in_order_and_at_its_time(
    books: Books, tmp_path: Path
) -> None:
    start, done = books.now(), list[tuple[str, int]]()
    waiting = {"renewal": start + 2 * HOUR, "retry": start + HOUR, "far": start + 9 * HOUR}

    def due(name: str) -> Due:
        def run(at_books: Books, at: int) -> None:
            done.append((name, at_books.now()))
            del waiting[name]
            if name == "renewal":
                waiting["retry"] = at + HOUR

        return Due(lambda _: waiting.get(name), run)

    books.at_due += [due(name) for name in ("renewal", "retry", "far")]
    await books.advance(4 * HOUR)
    assert done == [
        ("retry", start + HOUR),
        ("renewal", start + 2 * HOUR),
        ("retry", start + 3 * HOUR),
    ]
    assert books.now() >= start + 4 * HOUR
    again = Books(tmp_path / "books.sqlite")
    assert abs(again.now() - books.now()) <= 1
    assert again.virtual(start) == start
    again.close()


async def test_what_is_stamped_after_a_move_lies_after_it(books: Books) -> None:
    await books.advance(HOUR)
    assert books.virtual(int(time.time())) == books.now()
    assert books.now() - int(time.time()) == HOUR


async def test_usage_falls_into_the_period_in_which_it_happened(books: Books) -> None:
    month, before = 30 * 24 * HOUR, int(time.time())
    with books.transaction():
        books.add({"object": "customer", "id": "cus_1"})
        meter = meters.create(called(books, **METER))["id"]

    def use(value: int, timestamp: int) -> None:
        payload = {"stripe_customer_id": "cus_1", "value": str(value)}
        wanted = {"event_name": "tokens", "timestamp": timestamp, "payload": payload}
        with books.transaction():
            meter_events.create(called(books, **wanted))

    use(1, before)
    await books.advance(month)
    use(10, int(time.time()))
    use(100, before)
    ends = before + month
    assert meters.metered(books, "cus_1", meter, before, ends) == 101
    assert meters.metered(books, "cus_1", meter, ends, ends + month) == 10
    assert meters.metered(books, "cus_2", meter, before, ends) == 0
