"""Arithmetic that decides what is charged, and what is sent: laws that hold for any input."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import chain
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from aisaas.billing.reservations.quota import charged_weight, cost_usd, quota_tokens
from aisaas.chat import prompt as prompts
from aisaas.chat.models import HistoryMessage
from aisaas.chat.ports import Turn
from aisaas.language_models import Model
from aisaas.prices import Price
from tests.billing.conftest import model

tokens = st.integers(0, 2_000_000)
prices = st.decimals(0, 1000, places=4)
weights = st.decimals("0.0001", 1000, places=4)
HALF_A_MICRO = Decimal("0.0000005")


def priced(input_usd: Decimal, output_usd: Decimal, cached_usd: Decimal) -> Model:
    return replace(model(), price=Price(input_usd, output_usd, cached_usd, "tests"))


# Money


@given(prices, prices, prices, tokens, tokens, st.data())
def test_cost_is_the_exact_price_to_within_half_a_millionth(
    input_usd: Decimal,
    output_usd: Decimal,
    cached_usd: Decimal,
    prompt: int,
    completion: int,
    data: st.DataObject,
) -> None:
    cached = data.draw(st.integers(0, prompt))
    cost = cost_usd(
        priced(input_usd, output_usd, cached_usd),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_prompt_tokens=cached,
    )
    exact = (prompt - cached) * input_usd + cached * cached_usd + completion * output_usd
    assert abs(cost - exact / 1_000_000) <= HALF_A_MICRO
    assert cost >= 0
    assert cost.as_tuple().exponent == -6


@given(prices, prices, tokens, tokens)
def test_more_tokens_never_cost_less(
    input_usd: Decimal, output_usd: Decimal, prompt: int, completion: int
) -> None:
    of = priced(input_usd, output_usd, input_usd)
    cost = cost_usd(of, prompt_tokens=prompt, completion_tokens=completion)
    assert cost <= cost_usd(of, prompt_tokens=prompt + 1, completion_tokens=completion)
    assert cost <= cost_usd(of, prompt_tokens=prompt, completion_tokens=completion + 1)


def test_price_of_a_known_call_is_what_the_price_list_says() -> None:
    mini = priced(Decimal("0.15"), Decimal("0.60"), Decimal("0.075"))
    assert cost_usd(mini, prompt_tokens=1000, completion_tokens=500) == Decimal("0.000450")
    assert cost_usd(
        mini, prompt_tokens=1000, completion_tokens=500, cached_prompt_tokens=600
    ) == Decimal("0.000405")


# Quota tokens


@given(weights, tokens)
def test_quota_tokens_are_rounded_up_and_by_less_than_one(weight: Decimal, count: int) -> None:
    charged = quota_tokens(weight, count)
    assert 0 <= charged - count * weight < 1


@given(weights, tokens, tokens)
def test_splitting_a_call_never_makes_it_cheaper(weight: Decimal, one: int, two: int) -> None:
    assert quota_tokens(weight, one + two) <= quota_tokens(weight, one) + quota_tokens(weight, two)


@given(weights, weights)
def test_fallback_never_weighs_more_than_what_was_asked_for(
    asked: Decimal, answered: Decimal
) -> None:
    weight = charged_weight(replace(model(), weight=asked), replace(model(), weight=answered))
    assert weight <= asked
    assert weight <= answered


# Prompts


def count_words(text: str) -> int:
    return len(text.split())


Exchange = tuple[HistoryMessage, list[HistoryMessage]]
words = st.text(alphabet="ab ünß🙂\n", max_size=40)


def message(role: str, content: str, *, answers: HistoryMessage | None = None) -> HistoryMessage:
    return HistoryMessage(
        id=uuid4(),
        role=role,
        content=content,
        reply_to=answers.id if answers else None,
        token_count=count_words(content),
    )


@st.composite
def exchanges(draw: st.DrawFn) -> list[Exchange]:
    """Questions with any number of answers, some of them empty: retries and failures."""
    made: list[Exchange] = []
    for question, answers in draw(
        st.lists(st.tuples(words, st.lists(words, max_size=3)), max_size=8)
    ):
        asked = message("user", question)
        made.append((asked, [message("assistant", text, answers=asked) for text in answers]))
    return made


def history_of(talk: list[Exchange]) -> list[HistoryMessage]:
    return [each for asked, answers in talk for each in (asked, *answers)]


def expected_turns(talk: list[Exchange]) -> list[list[tuple[str, str]]]:
    """Each question with its last answer that says anything."""
    found: list[list[tuple[str, str]]] = []
    for asked, answers in talk:
        said = [answer.content for answer in answers if answer.content]
        found.append([("user", asked.content), *[("assistant", text) for text in said[-1:]]])
    return found


@given(exchanges(), words, st.integers(0, 400))
def test_prompt_is_whole_turns_from_the_newest_and_never_over_budget(
    talk: list[Exchange], question: str, budget: int
) -> None:
    asked = Turn("user", question, count_words(question))
    built = prompts.build(history_of(talk), asked, budget=budget, count_tokens=count_words)
    system = Turn("system", prompts.SYSTEM_TEXT, count_words(prompts.SYSTEM_TEXT))
    if built is None:
        assert prompts.upper_estimate([system, asked]) > budget
        return
    assert built.upper_estimate == prompts.upper_estimate(built.turns) <= budget
    assert built.count == prompts.count(built.turns) <= built.upper_estimate
    assert (built.turns[0], built.turns[-1]) == (system, asked)

    groups = expected_turns(talk)
    kept = [(turn.speaker, turn.text) for turn in built.turns[1:-1]]
    flat = [len(group) for group in groups]
    # What was kept is the end of the conversation, cut between two turns.
    cuts = [index for index in range(len(groups) + 1) if list(chain(*groups[index:])) == kept]
    assert cuts != []
    assert built.history_cut in {sum(flat[:index]) for index in cuts}
    assert built.history_cut + len(kept) == sum(flat)


@given(exchanges(), words, st.integers(60, 400))
def test_prompt_leaves_out_only_what_does_not_fit(
    talk: list[Exchange], question: str, budget: int
) -> None:
    asked = Turn("user", question, count_words(question))
    built = prompts.build(history_of(talk), asked, budget=budget, count_tokens=count_words)
    if built is None or built.history_cut == 0:
        return
    left_out = [turn for group in expected_turns(talk) for turn in group][: built.history_cut]
    # The newest of what was left out: one exchange more would have been too much.
    start = max(index for index, (speaker, _) in enumerate(left_out) if speaker == "user")
    one_more = [
        Turn("user" if speaker == "user" else "assistant", text, count_words(text))
        for speaker, text in left_out[start:]
    ]
    assert prompts.upper_estimate([built.turns[0], *one_more, *built.turns[1:]]) > budget


@given(exchanges(), words)
def test_everything_is_sent_when_everything_fits(talk: list[Exchange], question: str) -> None:
    asked = Turn("user", question, count_words(question))
    built = prompts.build(history_of(talk), asked, budget=1_000_000, count_tokens=count_words)
    assert built is not None
    assert built.history_cut == 0
    assert len(built.turns) == 2 + sum(len(group) for group in expected_turns(talk))


def test_messages_that_are_never_read_are_said_to_be_left_out() -> None:
    asked = Turn("user", "and now?", 2)
    first, second = uuid4(), uuid4()
    history = [
        # Its question is not among what is read.
        HistoryMessage(uuid4(), "assistant", "an answer", uuid4(), 2),
        HistoryMessage(first, "user", "a question", None, 2),
        HistoryMessage(second, "assistant", "an answer", first, 2),
    ]
    for earlier, cut in ((0, 0), (1, 2), (600, 601)):
        built = prompts.build(
            history, asked, budget=10_000, count_tokens=count_words, earlier=earlier
        )
        assert built is not None
        assert built.history_cut == cut
        assert [turn.text for turn in built.turns[1:]] == ["a question", "an answer", "and now?"]


def test_only_what_may_fit_is_counted() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return count_words(text)

    questions = [uuid4() for _ in range(3)]
    history = [
        HistoryMessage(questions[0], "user", "old " * 200, None, 0),
        HistoryMessage(questions[1], "user", "long " * 100_000, None, 0),
        HistoryMessage(questions[2], "user", "new", None, 0),
    ]
    built = prompts.build(history, Turn("user", "?", 1), budget=1000, count_tokens=count)
    assert built is not None
    assert built.history_cut == 2
    # Neither what is too long by its length alone, nor anything before it.
    assert counted == [prompts.SYSTEM_TEXT, "new"]
