"""What admins see of users: the list, and one of them."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

import aisaas.admin
from aisaas.accounts.people_models import SORTS, Search
from aisaas.admin.stripe_pages import StripePages
from aisaas.admin.users_models import FoundPage
from aisaas.chat import failed_replies
from aisaas.wiring import Services
from tests.admin.members import new_admin
from tests.services import Database, Member, new_member, new_principal, whole

WHY = "told us so"


@pytest_asyncio.fixture(loop_scope="session")
async def admin(services: Services, database: Database) -> Member:
    return await new_admin(services, database)


@pytest.fixture
def word() -> str:
    """A word that only the users of this test have in their names."""
    return uuid4().hex


def add(database: Database, name: str, **columns: object) -> UUID:
    """Someone who never signed in, as quick as that."""
    user_id = uuid4()
    database(
        "insert into auth.users (id, email, raw_user_meta_data) values (%s, %s, '{}')",
        user_id,
        f"{user_id.hex}@example.com",
    )
    values: dict[str, object] = {"full_name": name, **columns}
    changes = ", ".join(f"{column} = %s" for column in values)
    database(f"update profiles set {changes} where id = %s", *values.values(), user_id)
    return user_id


def add_many(database: Database, name: str, count: int) -> list[UUID]:
    """As many, who joined a second after each other."""
    added = [uuid4() for _ in range(count)]
    database(
        "insert into auth.users (id, email, raw_user_meta_data)"
        " select id, id || '@example.com', '{}' from unnest(%s::uuid[]) id",
        added,
    )
    database(
        "update profiles p set full_name = %s, created_at = now() + make_interval(secs => o.n)"
        " from unnest(%s::uuid[]) with ordinality o (id, n) where p.id = o.id",
        name,
        added,
    )
    return added


def ids(found: FoundPage) -> list[UUID]:
    return [user.id for user in found.users]


# The list


async def test_search_takes_every_character_as_it_is(
    services: Services, database: Database, admin: Member, word: str
) -> None:
    ada = add(database, f"{word} 100%_sure\\")
    bob = add(database, f"{word} 100 xsure")

    async def found(text: str) -> set[UUID]:
        return set(ids(await services.users.find(admin.principal, Search(text=text))))

    assert await found(f"{word} 100%_S") == {ada}
    assert await found(f"  {word.upper()} 100 X ") == {bob}
    assert await found(f"{word} 100__sure") == set()
    assert await found("sure\\") == {ada}
    assert await found(f"{word}' or true --") == set()
    # By address, by an id and by its beginning.
    for text in (f"{ada.hex}@EXAMPLE", str(ada), str(ada)[:15].upper(), ada.hex[:20]):
        assert await found(text) == {ada}, text


async def test_filters_are_of_what_holds_now(
    services: Services, database: Database, admin: Member, word: str
) -> None:
    now = datetime.now(UTC)
    free = add(database, word)
    over = add(database, word, plan="pro", plan_ends_at=now - timedelta(minutes=1))
    owing = add(database, word, plan="pro", subscription_status="past_due")
    boss = add(database, word, role="admin", suspended_at=now)

    async def found(search: Search) -> set[UUID]:
        return set(ids(await services.users.find(admin.principal, search)))

    assert await found(Search(text=word)) == {free, over, owing, boss}
    assert await found(Search(text=word, plan="pro")) == {owing}
    assert await found(Search(text=word, plan="free")) == {free, over, boss}
    assert await found(Search(text=word, status="past_due")) == {owing}
    assert await found(Search(text=word, role="admin")) == {boss}
    assert await found(Search(text=word, suspended=True)) == {boss}
    assert await found(Search(text=word, suspended=False, plan="free")) == {free, over}
    database("update profiles set role = 'user' where id = %s", boss)


def use(database: Database, user_id: UUID, tokens: int, cost: str, *, days_ago: int = 0) -> None:
    database(
        "insert into usage_records (reservation_id, user_id, purpose, plan, model, provider,"
        " prompt_tokens, completion_tokens, counted_by, weight, quota_tokens, period_key,"
        " input_usd_per_million, output_usd_per_million, price_version, cost_usd, outcome,"
        " created_at) values (gen_random_uuid(), %s, 'reply', 'free', 'demo', 'demo', %s, 0,"
        " 'estimate', 1, %s, to_char(now() at time zone 'UTC', '\"month:\"YYYY-MM'), 1, 1, 'tests',"
        " %s, 'done', now() - make_interval(days => %s))",
        user_id,
        tokens,
        tokens,
        Decimal(cost),
        days_ago,
    )


async def test_pages_are_sorted_by_the_server_and_hold_everybody_once(
    services: Services, database: Database, admin: Member, word: str
) -> None:
    everybody = add_many(database, word, 27)
    use(database, everybody[3], 500, "0.25")
    use(database, everybody[5], 100, "0.5")
    use(database, everybody[7], 10**6, "9", days_ago=31)

    async def pages(search: Search) -> Sequence[FoundPage]:
        first = await services.users.find(admin.principal, search)
        later = Search(text=word, sort=search.sort, down=search.down, page=99)
        return first, await services.users.find(admin.principal, later)

    for sort in SORTS:
        first, last = await pages(Search(text=word, sort=sort))
        assert (first.page, first.pages, first.total, last.page) == (1, 2, 27, 2)
        assert (len(first.users), len(last.users)) == (25, 2)
        assert {*ids(first), *ids(last)} == set(everybody), sort
    (first, _), (back, _) = (
        await pages(Search(text=word)),
        await pages(Search(text=word, down=False)),
    )
    assert ids(first)[0] == everybody[-1]
    assert ids(back)[0] == everybody[0]
    by_tokens = await pages(Search(text=word, sort="tokens"))
    assert ids(by_tokens[0])[:2] == [everybody[3], everybody[5]]
    by_cost = await pages(Search(text=word, sort="cost"))
    assert ids(by_cost[0])[:2] == [everybody[5], everybody[3]]
    # What was used before is no use of the last 30 days.
    top = by_cost[0].users[0]
    assert (top.requests, top.quota_tokens, top.cost_usd) == (1, 100, Decimal("0.5"))
    assert all(user.quota_tokens == 0 for user in by_cost[0].users[2:])


# One user


async def test_one_user_is_shown_whole_and_without_a_word_of_theirs(
    services: Services, database: Database, admin: Member, word: str
) -> None:
    ada = await new_member(services)
    user_id = ada.principal.user_id
    said = await services.chat.send(ada.principal, word, conversation_id=None, model="demo")
    await whole(services, ada.principal, said)
    untitled = "select 1 from conversations where id = %s and title = 'New Conversation'"
    while database(untitled, said.conversation_id):
        await asyncio.sleep(0.02)
    broken = await services.chat.send(
        ada.principal, "fail", conversation_id=said.conversation_id, model="demo"
    )
    await whole(services, ada.principal, broken)
    database(
        "insert into refusals (user_id, code, minute, times, model)"
        " values (%s, 'rate_limited_minute', date_trunc('minute', now()), 3, 'demo'),"
        " (%s, 'busy', now() - interval '31 days', 1, null)",
        user_id,
        user_id,
    )
    await services.users.grant_credits(admin.principal, user_id, 500, reason=WHY)
    one = await services.users.look(admin.principal, user_id)
    assert (one.standing.email, one.plan.id) == (ada.principal.email, "free")
    assert one.allowance.used > 0
    assert one.allowance.credits == 500
    (day,) = one.days
    assert day.day == one.today
    ((requests, tokens),) = database(
        "select count(*), sum(quota_tokens) from usage_records where user_id = %s", user_id
    )
    assert (day.requests, day.quota_tokens) == (requests, tokens)
    assert [(each.code, each.times, each.model) for each in one.refused] == [
        ("rate_limited_minute", 3, "demo")
    ]
    assert [each.opened_by for each in one.sessions] == ["sign_up"]
    assert [(each.tokens, each.reason, each.over) for each in one.credits] == [(500, WHY, False)]
    assert [(each.action, each.actor_email) for each in one.done] == [
        ("credits.grant", admin.principal.email)
    ]
    assert [(each.message_id, each.status, each.model) for each in one.failed] == [
        (broken.reply.id, "failed", "demo")
    ]
    assert word not in repr(one)


async def test_paid_is_set_against_cost_by_the_running_period(
    services: Services, database: Database, admin: Member
) -> None:
    ada = await new_principal(services)
    use(database, ada.user_id, 1000, "0.5")
    look = services.users.look
    money = (await look(admin.principal, ada.user_id)).money
    assert (money.paid_usd, money.cost_usd, money.margin_usd) == (
        Decimal(0),
        Decimal("0.5"),
        Decimal("-0.5"),
    )
    database(
        "update profiles set plan = 'pro', subscription_status = 'active',"
        " stripe_customer_id = %s, subscription_id = 'sub_1', period_end = now() + interval '9 days',"
        " period_start = now() - interval '1 day' where id = %s",
        f"cus_{ada.user_id}",
        ada.user_id,
    )
    database(
        "insert into subscriptions (id, user_id, stripe_customer_id, status, plan)"
        " values (%s, %s, %s, 'active', 'pro')",
        f"sub_{ada.user_id}",
        ada.user_id,
        f"cus_{ada.user_id}",
    )
    one = await look(admin.principal, ada.user_id)
    price = one.plan.price
    assert price is not None
    # The calendar month's cost isn't the subscription's, and is still among all there ever was.
    assert (one.money.paid_usd, one.money.cost_usd) == (price.base_usd, Decimal(0))
    assert one.money.ever_cost_usd == Decimal("0.5")
    (held,) = one.subscriptions
    assert (held.status, held.plan, held.written_off_usd) == ("active", "pro", Decimal(0))
    database(
        "insert into private.write_offs (period_key, user_id, subscription_id, reason, tokens, usd)"
        " values (%s, %s, %s, 'payment_failed', 700, 8.641975)",
        f"sub_{ada.user_id}:1",
        ada.user_id,
        f"sub_{ada.user_id}",
    )
    (held,) = (await look(admin.principal, ada.user_id)).subscriptions
    assert held.written_off_usd == Decimal("8.641975")
    database("update profiles set subscription_status = 'past_due' where id = %s", ada.user_id)
    money = (await look(admin.principal, ada.user_id)).money
    assert (money.owed, money.paid_usd) == (True, Decimal(0))


def test_no_statement_for_admins_reads_what_was_written() -> None:
    statements = [
        node.value
        for path in (
            *Path(aisaas.admin.__file__).parent.rglob("*.py"),
            Path(failed_replies.__file__),
        )
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"\b(from|join) public\.(messages|conversations)\b", node.value)
    ]
    assert statements
    for statement in statements:
        assert not re.search(r"\bcontent\b|\btitle\b|\*", statement), statement


# Stripe's pages


def test_link_leads_to_the_mode_of_the_key_or_to_the_fake() -> None:
    live, test = StripePages(live=True), StripePages(live=False)
    assert live.customer("cus_1") == "https://dashboard.stripe.com/customers/cus_1"
    assert test.customer("cus_1") == "https://dashboard.stripe.com/test/customers/cus_1"
    assert test.subscription("sub_1", of="cus_1") == (
        "https://dashboard.stripe.com/test/subscriptions/sub_1"
    )
    fake = StripePages(live=False, fake_url="http://127.0.0.1:9999")
    assert fake.subscription("sub_1", of="cus_1") == "http://127.0.0.1:9999/#cus_1"
    # An id is never more than an id.
    assert test.customer("../x?y#z").endswith("/customers/..%2Fx%3Fy%23z")
