"""The canned copy, as data. Short; `more` is what the larger model adds."""

from dataclasses import dataclass

NOTE = (
    "*I'm the demo model, so this answer is canned. Set `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` "
    "and real models take over.*"
)
LARGER = "**The longer version**"


@dataclass(frozen=True, slots=True)
class Topic:
    """Chosen when the message has the most of its `keywords`; long ones match as beginnings."""

    keywords: tuple[str, ...]
    short: str
    more: str


GREETING = Topic(
    (),
    """Hello! Good to see you.

You're talking to a demo that runs on this machine, without an account anywhere. It can explain how this product keeps an AI bill under control, and it can show you what an answer may look like.

Try one of these:

- `What happens before a model is called?`
- `What are my limits?`
- `help` for all commands""",
    """Everything around me is the real thing: the sign-in, the limits, the reservation of tokens and the ledger work exactly as they do with a paid model. Only my sentences are prepared, and they cost nothing.""",
)

HELP = Topic(
    ("help", "command", "usage"),
    """Send a command as the whole message, with or without a leading slash. They combine: `long 400 speed 50`.

| Command | What I do |
|---|---|
| `help` | show this list |
| `long N` | write exactly N tokens of markdown (up to 20,000) |
| `ticks N` | send N tokens, each of them the time at which it is sent, in milliseconds |
| `table`, `code`, `math` | show a table, code, formulas |
| `code N` | write N lines of Python (up to 2,000) |
| `slow` | write about 2 tokens a second |
| `speed N` | write N tokens a second, 0 for all at once |
| `silent N` | wait N seconds before the first token |
| `think N` | think for N seconds first, aloud |
| `hide N` | think for N seconds first, without a word |
| `limit after N` | reach the length limit after N tokens |
| `filter after N` | be cut by a content filter after N tokens |
| `refuse` | decline to answer |
| `empty` | say nothing; `think 3 empty` only thinks |
| `linger` | say that the reply is complete, and never close it |
| `stall after N` | go quiet after N tokens and never end |
| `cut after N` | end after N tokens without saying why |
| `fail after N` | drop the connection after N tokens |
| `fail` | answer with HTTP 500 |
| `error 429` | answer with HTTP 429 |

You can also just ask: about prices, limits, security, privacy, the architecture, models or markdown. I remember this conversation, so `What did I say first?` works too.""",
    """My tokens are pieces of at most four characters, and each one arrives as its own event. That makes every count on this screen one you can check by hand.""",
)

PRICE = Topic(
    ("price", "pricing", "cost", "bill", "billing", "pay", "plan", "invoice", "subscri", "upgrade"),
    """Billing follows one rule: **every token that was produced is recorded once and billed once.**

1. Before a call, its worst case is *reserved* against your quota and the spending caps.
2. After it, the reservation is *settled* with what was really produced.
3. The record goes into an append-only ledger, and from there to the payment provider's meter.

A reply you stop half-way is charged for the half you got. A reply that failed before its first word costs nothing.""",
    """Models are weighted, because a token of a large model costs many times that of a small one. A usage record keeps the price that applied at the time, so last month's numbers don't move when prices do. Each delivery to the meter carries an identifier of its own: sending it twice counts once.""",
)

LIMITS = Topic(
    ("quota", "limit", "cap", "reserv", "settle", "rate", "token", "remain", "exceed", "refus"),
    """Four gates stand before each call, and all of them must open:

- **Rate**: how many messages a minute and a day you may send
- **Quota**: how many tokens your plan includes this month
- **Your cap**: what you allowed yourself to spend
- **Everyone's cap**: what all users together may cost in a day

The check and the claim are one step, so ten tabs sending at once can't slip past together. If a gate stays closed, you are told which one and when to come back, and your text stays where you typed it.""",
    """A quota belongs to a period by name, so a new month starts at zero without anything having to be reset. When the rate limiter can't be reached, spending stops rather than running free.""",
)

SECURITY = Topic(
    ("secur", "privac", "private", "secret", "safe", "data", "key", "leak", "gdpr", "tenant"),
    """The short list:

- **Keys stay on the server.** What may reach a browser is a list of names; everything else can't.
- **The database keeps people apart.** Row-level security means that a query which forgets its `WHERE` still returns only your rows.
- **Nothing is believed because a browser says so.** Each request finds out again who you are and whose conversation it is.
- **Deleting means deleting.** Conversations go; the ledger keeps amounts, without your name.

And this demo model sends nothing anywhere: it runs on this machine.""",
    """Prices, plans and limits are columns that users have no right to write. Sign-ins can be revoked, and a revoked one stops working at the next request, not at the end of an hour. Webhooks are accepted only with a valid signature, and an event that arrives twice acts once.""",
)

ARCHITECTURE = Topic(
    ("architect", "design", "before", "happen", "firewall", "stack", "built"),
    """This is a chat with a **billing firewall** at its heart. One message travels like this:

```text
browser ─> identity ─> rate ─> quota and caps ─> reserve ─> model
                                                              │
        screen <─ ledger <─ settle <──────────────────────────┘
```

There is one door to the models, and it opens only for a request that holds a reservation. The reply belongs to the server, not to your tab: close it, come back, and the text is there.""",
    """The parts are plain: Python throughout, Postgres for everything that is money, a small in-memory store for rates and signals. Losing that store slows people down and lets nobody spend more. A process that dies in the middle of a reply is cleaned up after: what had been written is charged once, and the rest of the reservation is given back.""",
)

MODELS = Topic(
    ("model", "openai", "anthropic", "gpt", "claude", "llm", "demo"),
    """I'm `demo`, a stand-in with prepared answers; `demo-large` is me with more to say. Neither of us thinks, unless you choose how much.

To talk to a real model, put a key into `.env` and start again:

```bash
OPENAI_API_KEY=...
ANTHROPIC_API_KEY=...
```

Nothing else changes: the same checks stand before every call, whichever model answers.""",
    """The catalogue of models is data with a price for each. A model without a known price is refused instead of being billed at some default. If one provider is down, another may step in before the first word, never after it.""",
)

MARKDOWN = Topic(
    ("markdown", "format", "list", "heading", "render"),
    """Here is a little of everything.

### A heading

A paragraph with **bold**, *italic*, `code` and a [link](https://example.com).

1. First
2. Second
   - nested
   - list

> A quotation, for the thoughtful moments.

- [x] tables: say `table`
- [x] code: say `code`
- [ ] formulas: say `math`""",
    """For a long mixture of all of these, say `long 1000`.""",
)

TABLE = Topic(
    ("table", "column", "csv"),
    """A table, with made-up numbers:

| Day | Messages | Tokens | Refused |
|:--|--:|--:|--:|
| Monday | 128 | 41,920 | 3 |
| Tuesday | 164 | 58,005 | 0 |
| Wednesday | 97 | 30,211 | 12 |
| **Total** | **389** | **130,136** | **15** |""",
    """Wide tables should scroll inside their own box:

| Model | In | Out | Weight | First token | Context | Notes |
|---|--:|--:|--:|--:|--:|---|
| small | 0.15 | 0.60 | 1 | 0.3 s | 128,000 | the everyday one |
| large | 2.50 | 10.00 | 16 | 0.6 s | 128,000 | for hard questions |""",
)

CODE = Topic(
    ("code", "python", "typescript", "javascript", "sql", "function", "snippet", "program"),
    """The idea of the firewall in a few lines:

```python
async def send(message: Message) -> AsyncIterator[str]:
    admitted = await admit(message)  # or raises a refusal
    try:
        async for piece in model.stream(admitted):
            yield piece
    finally:
        await settle(admitted)  # exactly once, however it ended
```

And the claim that can't be overrun, as one statement:

```sql
update quota
   set reserved = reserved + $1
 where user_id = $2 and used + reserved + $1 <= allowed
returning id;
```""",
    """The same thought on the other side of the wire:

```typescript
for await (const piece of stream) {
  if (stopped) break;
  answer.textContent += piece;
}
```

```bash
curl -N http://127.0.0.1:8000/v1/models
```""",
)

MATH = Topic(
    ("math", "formula", "latex", "equation", "calculat"),
    r"""A call is let through when the worst case still fits: $u + r + w \le q$, where $u$ is used, $r$ reserved, $w$ the worst case and $q$ the quota.

What it costs afterwards:

$$
\text{cost} = \frac{t_{\text{in}} \, p_{\text{in}} + t_{\text{out}} \, p_{\text{out}}}{10^{6}}
$$""",
    r"""Over a day with $n$ calls, the caps promise

$$
\sum_{i=1}^{n} c_i \;\le\; C_{\text{day}}, \qquad c_i \ge 0
$$

no matter in which order, or at which moment, the calls arrive.""",
)

# Specific before general: the first of two equally good topics wins.
TOPICS = (
    HELP,
    LIMITS,
    PRICE,
    SECURITY,
    TABLE,
    CODE,
    MATH,
    MARKDOWN,
    ARCHITECTURE,
    MODELS,
)

SUGGESTIONS = """Some things I do know about:

- what happens before a model is called
- prices, limits and spending caps
- security and privacy
- `table`, `code`, `math` and `long 500`
- `help` for all commands"""
