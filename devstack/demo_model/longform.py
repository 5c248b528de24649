"""A markdown answer of exactly the requested length."""

from collections.abc import Callable, Iterator
from itertools import count, cycle, islice

from devstack.demo_model.tokens import split_tokens

# Words of at most three letters: with its space before it each is one token, so that any remainder
# can be filled.
FILLER = (
    *("the", "cap", "is", "set", "and", "so", "no", "one", "can", "run", "up"),
    *("a", "big", "sum", "on", "a", "bad", "day", "or", "by", "ill", "use"),
)
LAST_WORD = " ok."
ONLY_WORD = "Ok."
INTRODUCTION = (
    "# A long answer\n\n"
    "This is canned text from the demo model. Set `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` for a "
    "real one.\n\n"
)
NOUNS = ("reservation", "ledger", "quota", "spending cap", "rate limit", "settlement", "receipt")


def _noun(number: int) -> str:
    return NOUNS[number % len(NOUNS)]


def _paragraph(number: int) -> str:
    return (
        f"## {number}. The {_noun(number)}\n\n"
        f"Think of the {_noun(number)} as a promise made *before* the work and kept **after** it. "
        f"In step {number}, nothing is spent that was not set aside, and whatever is left over "
        "goes back at once.\n\n"
    )


def _bullets(number: int) -> str:
    return (
        f"- The {_noun(number)} is written first\n"
        f"- The {_noun(number + 1)} follows within the same transaction\n"
        f"  - and if it can't, neither happens\n"
        f"- Item {number} of this list is `{number:04d}`\n\n"
    )


def _table(number: int) -> str:
    rows = "".join(
        f"| {_noun(number + row)} | {(number * 37 + row * 101) % 900 + 100} | {row + 1}.{number % 10} s |\n"
        for row in range(4)
    )
    return f"| Part | Count | Time |\n|:--|--:|--:|\n{rows}\n"


def _python(number: int) -> str:
    return (
        "```python\n"
        f"def settle_{number}(reserved: int, produced: int) -> int:\n"
        '    """What goes back to the quota."""\n'
        "    if produced > reserved:\n"
        f"        raise ValueError({number})\n"
        "    return reserved - produced\n"
        "```\n\n"
    )


def _inline_math(number: int) -> str:
    return (
        f"With $n = {number}$ calls and a worst case of $w_i$ each, the sum "
        f"$\\sum_{{i=1}}^{{{number}}} w_i$ is what has to fit.\n\n"
    )


def _sql(number: int) -> str:
    return (
        "```sql\n"
        "select user_id, sum(total_tokens) as tokens\n"
        "  from usage_records\n"
        f" where created_at >= now() - interval '{number} days'\n"
        " group by user_id\n"
        " order by tokens desc;\n"
        "```\n\n"
    )


def _quotation(number: int) -> str:
    return f"> Rule {number}: a refusal says what happened, why, and when to come back.\n\n"


def _block_math(number: int) -> str:
    return (
        "$$\n"
        f"q_{{{number}}} = q_{{{number - 1}}} - \\frac{{t_{{in}} + t_{{out}}}}{{{number + 1}}}\n"
        "$$\n\n"
    )


def _typescript(number: int) -> str:
    return (
        "```typescript\n"
        f"const limit{number}: number = {number * 1000};\n"
        "export const allowed = (used: number, wanted: number): boolean =>\n"
        f"  used + wanted <= limit{number};\n"
        "```\n\n"
    )


def _steps(number: int) -> str:
    return f"1. Ask who it is\n2. Look at window {number}\n3. Reserve, call, settle\n\n"


def _shell(number: int) -> str:
    return (
        f"```bash\ncurl -s http://127.0.0.1:8000/health?n={number} | head -c {number * 10}\n```\n\n"
    )


BLOCKS: tuple[Callable[[int], str], ...] = (
    _paragraph,
    _bullets,
    _table,
    _python,
    _inline_math,
    _paragraph,
    _sql,
    _quotation,
    _block_math,
    _typescript,
    _steps,
    _shell,
)


def long_answer(tokens: int) -> str:
    """Markdown of exactly `tokens` tokens by `split_tokens`; no block is left open.

    Every block ends in an empty line, so its tokens are the same alone as among others.
    """
    parts: list[str] = []
    left = tokens
    for block in _blocks():
        needed = len(split_tokens(block))
        if needed > left:
            break
        parts.append(block)
        left -= needed
    return "".join(parts) + _fill(left)


def _blocks() -> Iterator[str]:
    yield INTRODUCTION
    for number, block in zip(count(1), cycle(BLOCKS), strict=False):
        yield block(number)


def _fill(tokens: int) -> str:
    """A last sentence of so many tokens."""
    if tokens == 0:
        return ""
    if tokens == 1:
        return ONLY_WORD
    words = list(islice(cycle(FILLER), tokens - 1))
    return " ".join([words[0].capitalize(), *words[1:]]) + LAST_WORD
