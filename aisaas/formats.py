"""How dates, amounts and shares read in every page, mail and command: en-US.

`ui/browser/formats.jsx` does the same in the browser; a test compares the two. Commands that list rows
print ISO 8601 instead, which sorts.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
MICRO = Decimal("0.000001")
MINUS = "−"
_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£"}
# Currencies that Stripe counts in whole units; it counts all others in hundredths.
_WHOLE = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split()  # noqa: SIM905
)


def day(at: date) -> str:
    """Nov 29, 2026. A datetime is read as it is: convert it to UTC first."""
    return f"{at:%b} {at.day}, {at.year}"


def moment(at: datetime) -> str:
    """Nov 29, 2026, 9:05 AM UTC; midnight is the day alone."""
    at = at.astimezone(UTC)
    if at.time() == time():
        return day(at)
    return f"{day(at)}, {at.hour % 12 or 12}:{at:%M %p} UTC"


def count(number: int, one: str, many: str = "") -> str:
    """1 token, 2,000 tokens; `many` where the plural doesn't end in s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def usd(amount: Decimal) -> str:
    """To the cent: $1,234.50. For charges and caps."""
    return _dollars(amount.quantize(CENT, ROUND_HALF_UP), 2)


def sum_usd(amount: Decimal) -> str:
    """To the cent, for sums of costs: less than half a cent isn't nothing, so it is <$0.01."""
    if amount and not amount.quantize(CENT, ROUND_HALF_UP):
        return f"{MINUS if amount < 0 else ''}<$0.01"
    return usd(amount)


def exact_usd(amount: Decimal) -> str:
    """To the ledger's last digit: $0.000078. For the cost of a single call."""
    return _dollars(amount.quantize(MICRO, ROUND_HALF_UP), 6)


def price(amount: Decimal) -> str:
    """As on a price tag: $20, $0.50, and $0.075 where cents are too coarse."""
    exponent = amount.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return _dollars(amount, 0 if exponent >= 0 else max(2, -exponent))


def money(amount: int, currency: str) -> str:
    """An amount in the smallest unit of a currency: $20.00, 19.99 CHF, 2,000 JPY."""
    code = currency.lower()
    written = f"{abs(amount):,}" if code in _WHOLE else f"{Decimal(abs(amount)) / 100:,.2f}"
    sign = MINUS if amount < 0 else ""
    if code in _SYMBOLS:
        return f"{sign}{_SYMBOLS[code]}{written}"
    return f"{sign}{written} {code.upper()}"


def percent(share: Decimal | float) -> str:
    """Whole percent of a share (1 is all): 12%."""
    whole = f"{abs(share) * 100:.0f}"
    return f"{MINUS if share < 0 and whole != '0' else ''}{whole}%"


def _dollars(amount: Decimal, places: int) -> str:
    return f"{MINUS if amount < 0 else ''}${abs(amount):,.{places}f}"
