"""What replies are read as: the parser that the pages ship, run in Node."""

from __future__ import annotations

import pytest

from tests.ui.hostile_markdown import HOSTILE
from tests.ui.markdown_node import depth, of_type, parsed, run, sample, shown, walk

# The first may have to build the pages.
pytestmark = [pytest.mark.usefixtures("front_end"), pytest.mark.timeout(400)]

SAMPLES = ("cells", "cjk", "fences", "formulas", "links", "pictures", "prices", "rtl")
MAX_DEPTH = 45

MONEY = [
    "It costs $5, then $10, or **$4** each. From $10/mo to $20/mo.",
    "Price ($) = units × rate ($)",
    "Price ($/mo) and rate ($/h)",
    "| Price ($/mo) | Price ($/yr) |\n|---|---|\n| $5 | $50 |",
    "I have $20 and she has 30$ too.",
    "US$5 and A$6, HK$7/HK$8",
    "between $5-$10, $5–$10, or $1M-$2M.",
    "**$5**/**$6** and **$** or **$**",
    "cost: 5$ (or 6$)",
    "the \"$\" and \"$\" keys, '$' or '$'",
    "$5/mo, $50/yr or 5$",
    "$HOME and $PATH, $HOME/$USER, $a,$b",
    "foo($a, $b) and $foo = $bar;",
    "$('x').click(); $('y')",
    "costs $1,000/$1,200 and \\$3 = \\$4",
    "$5 = five and 6$ = six",
    "a $ b $ c",
    "save $100 (was $120), or $1.5k",
    "$var is the name and $",
]
FORMULAS = {
    "$x$": ["x"],
    "$E=mc^2$ and $\\alpha$": ["E=mc^2", "\\alpha"],
    "$n$-th, ($x$), $x$'s, **$y$**": ["n", "x", "x", "y"],
    "设$x$为整数，$f'(x)$。": ["x", "f'(x)"],
    "$a$/$b$": ["a", "b"],
    "$|V|$ and $2x$ and $5$": ["|V|", "2x", "5"],
    "$2 \\times 10^{8} \\text{ m/s}$": ["2 \\times 10^{8} \\text{ m/s}"],
    "$ax + by = c$, $\\sin x$, $sin x$": ["ax + by = c", "\\sin x", "sin x"],
    "$[0, 1)$ and $A^*$": ["[0, 1)", "A^*"],
    "$1, 2, \\dots, n$": ["1, 2, \\dots, n"],
    "It costs $5 and $x^2$ is a square": ["x^2"],
    "\\(a\\) and \\[ b \\] and $$c$$": ["a", "b", "c"],
    "\\[ a \\\\[4pt] b \\]": ["a \\\\[4pt] b"],
    "$$\n- a\n+ b\n= c\n$$": ["- a\n+ b\n= c"],
    "text\n\\[\nx > 1\n\\]\nmore": ["x > 1"],
    "$$\na\n\nb\n$$": ["a\n\nb"],
    "> $$\n> a\n> $$": ["a"],
    "1. one\n   $$\n   a\n   $$\n2. two": ["a"],
    "| a | b |\n|---|---|\n| $x^2$ | \\(y\\) |": ["x^2", "y"],
    "`$x$` and ``\\(y\\)`` and\n\n```\n$$z$$\n```": [],
    "a \\( b without an end": [],
    "$$\n\n$$ and \\(\\)": [],
    "\\\\(not\\\\)": [],
    "[a $x$ b](https://example.com)": ["x"],
}
ADDRESSES = {
    "https://example.com/路径。后面": ["https://example.com/路径"],
    "（https://example.com/a），「https://b.example」、https://c.example！": [
        "https://example.com/a",
        "https://b.example",
        "https://c.example",
    ],
    "see https://example.org/a_(b), (https://example.org/c) and https://d.example.": [
        "https://example.org/a_(b)",
        "https://example.org/c",
        "https://d.example",
    ],
    "**https://a.example/x_y_z** *https://b.example*": [
        "https://a.example/x_y_z",
        "https://b.example",
    ],
    "**链接：https://a.example。**重要": ["https://a.example"],
    "HTTPS://A.example?q=1&b=$2#c": ["HTTPS://A.example?q=1&b=$2#c"],
    "mailto:me@example.com or me.too+x@example.co.uk.": [
        "mailto:me@example.com",
        "mailto:me.too+x@example.co.uk",
    ],
    "`https://a.example` xhttps://b.example git@github.com:a/b": [],
    "[https://a.example](https://b.example)": ["https://b.example"],
    "<https://a.example/> and <me@example.com>": ["https://a.example/", "mailto:me@example.com"],
    "<javascript:alert(1)> <data:text/html,x> std::vector<std::string>": [],
    "https:// and http://": [],
    'he said "https://a.example" and “https://b.example”': [
        "https://a.example",
        "https://b.example",
    ],
}
TARGETS = {
    "https://example.com": "https://example.com/",
    "HTTP://Example.com/A": "http://example.com/A",
    "mailto:me@example.com?subject=Hi": "mailto:me@example.com?subject=Hi",
    "https://example.com/路径": "https://example.com/%E8%B7%AF%E5%BE%84",
    "https://аpple.com/": "https://xn--pple-43d.com/",
    "https://example.com:8443/x?y#z": "https://example.com:8443/x?y#z",
    "javascript:alert(1)": None,
    "JaVaScRiPt:alert(1)": None,
    "java\tscript:alert(1)": None,
    "\njavascript:alert(1)": None,
    " https://example.com": None,
    "data:text/html,z": None,
    "file:///etc/hosts": None,
    "vbscript:x": None,
    "blob:https://example.com/1": None,
    "//evil.example": None,
    "/settings": None,
    "settings": None,
    "#top": None,
    "?q": None,
    "": None,
    "https:evil.example": None,
    "https:/evil.example": None,
    "https:\\\\evil.example": None,
    "https://": None,
    "https://bank.example@evil.example/": None,
    "https://bank.example:443@evil.example/": None,
    "https://@evil.example/": "https://evil.example/",
    "https://good.example\\@evil.example": "https://good.example/@evil.example",
    "mailto:": None,
    "ftp://example.com": None,
}


def test_prices_are_no_formulas() -> None:
    for text, nodes in zip(MONEY, parsed(MONEY), strict=True):
        assert of_type(nodes, "formula") == [], text
        assert of_type(nodes, "pending") == [], text


def test_formulas_are_found_where_they_stand() -> None:
    for (text, expected), nodes in zip(FORMULAS.items(), parsed(list(FORMULAS)), strict=True):
        assert [node["text"] for node in of_type(nodes, "formula")] == expected, text


def test_formulas_leave_the_list_and_the_quotation_what_they_are() -> None:
    (nodes,) = parsed([sample("formulas")])
    outer, quotation, block, last = nodes
    (inner,) = of_type(outer["children"], "bullet_list")
    shape = [node["type"] for node in inner["children"][0]["children"]]
    assert shape == ["text", "formula", "text"]
    assert of_type(quotation["children"], "formula")[0]["text"] == "q"
    assert shown([quotation]) == " and the rest of the quotation"
    assert block["text"] == "\\begin{aligned} a &= b \\\\[4pt] c &= d \\end{aligned}"
    assert of_type([last], "formula")[0] == {
        "type": "formula",
        "text": "e = mc^2",
        "display": False,
    }
    assert of_type(nodes, "fence") == of_type(nodes, "code_block") == []


def test_nothing_in_code_changes() -> None:
    (nodes,) = parsed([sample("fences")])
    (fence,) = of_type(nodes, "fence")
    inside = sample("fences").split("````markdown\n")[1].split("````")[0]
    assert fence["text"] == inside
    assert [node["text"] for node in of_type(nodes, "code_inline")] == ["$x_1$", "$y_2$"]
    assert [node["text"] for node in of_type(nodes, "formula")] == ["z = 1"]


def test_addresses_end_where_they_end() -> None:
    for (text, expected), nodes in zip(ADDRESSES.items(), parsed(list(ADDRESSES)), strict=True):
        assert [node["href"] for node in of_type(nodes, "link")] == expected, text


def test_tags_of_other_languages_stay_visible() -> None:
    text = "List<String>, <std::string>, <b onclick='x'>no</b>, <script>x</script>, <sub>open"
    (nodes,) = parsed([text])
    assert shown(nodes) == text
    (harmless,) = parsed(["H<SUB>2</SUB>O <kbd>*a*</kbd><br/>x<br />y<sup>2</sup>"])
    assert [node["tag"] for node in of_type(harmless, "tag")] == ["sub", "kbd", "sup"]
    assert len(of_type(harmless, "hardbreak")) == 2
    assert of_type(harmless, "em")


def test_chinese_and_japanese_emphasis() -> None:
    (nodes,) = parsed([sample("cjk")])
    assert [shown(node["children"]) for node in of_type(nodes, "strong")] == [
        "「重要」",
        "注意：",
    ]
    assert of_type(nodes, "s") == []
    struck, single = parsed(["~~gone~~ 100~200 和 8~9", "~not~ struck"])
    assert [shown(node["children"]) for node in of_type(struck, "s")] == ["gone"]
    assert of_type(single, "s") == []


def test_only_addresses_that_lead_out_are_links() -> None:
    answer = run(
        'import { safeTarget } from "own/safe_target.js";'
        "const answer = (all) => all.map((one) => safeTarget(one)?.href ?? null);",
        list(TARGETS),
    )
    assert dict(zip(TARGETS, answer, strict=True)) == TARGETS


GROWING = """
import { blocksOf } from "own/markdown_parser.js";
const plain = ({ blocks }) => JSON.stringify(blocks.map(({ start, nodes }) => [start, nodes]));
const answer = ([texts, step]) =>
  texts.filter((text) => {
    let grown;
    for (let end = step; end < text.length; end += step) {
      grown = blocksOf(text.slice(0, end), true, grown);
    }
    return plain(blocksOf(text, false, grown)) !== plain(blocksOf(text, false));
  });
"""
STRUCTURES = [
    "para\n***bold*** x\n\n- a\n- b\n\n  c\n\n1. x\n2. y\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "# h\ntext\n===\n\n```js\nlet a\n\n- no\n``\n```\nafter\n> q\nlazy\n\n    code\n\n    more\n",
    "~~~~\n```\n~~~\n~~~~\n```js\nunclosed\n",
    "- ```\n  in a list\n  ```\n- b\n\n$$\na\n\nb\n$$\nend $x$ \\(y\\)\n",
    "a\rb\r\n\r\nc **d**\r\n\r- e\r- f\r\r\rg\r\n```\r\nh\r\n```\r\ni",
    "[^1] and [a][b]\n\n[^1]: A note.\n\n[b]: https://example.com\n",
]


@pytest.mark.parametrize("step", [1, 7])
def test_a_reply_that_grew_is_read_like_one_that_came_whole(step: int) -> None:
    texts = [*map(sample, SAMPLES), *STRUCTURES, *(text[:300] for text in HOSTILE.values())]
    assert run(GROWING, [texts, step]) == []


SETTLED = """
import { blocksOf } from "own/markdown_parser.js";
const answer = (text) => {
  let grown, parsedAgain = 0, longest = 0;
  for (let end = 1; end <= text.length; end += 1) {
    const before = grown;
    grown = blocksOf(text.slice(0, end), true, before);
    const kept = (before?.blocks ?? []).filter((block) => grown.blocks.includes(block)).length;
    parsedAgain = Math.max(parsedAgain, grown.blocks.length - kept);
  }
  return [grown.blocks.length, parsedAgain];
};
"""


def test_only_the_last_blocks_are_parsed_again_while_a_reply_grows() -> None:
    blocks, parsed_again = run(SETTLED, "A paragraph with *some* words.\n\n- a\n- b\n\n" * 40)
    assert blocks == 80
    assert parsed_again <= 3


def test_code_that_grows_is_not_parsed_at_all() -> None:
    script = """
    import { blocksOf } from "own/markdown_parser.js";
    const answer = (text) => {
      let grown = blocksOf(text.slice(0, 30), true);
      const { fence, rest } = grown;
      for (let end = 31; end <= text.length; end += 1) {
        grown = blocksOf(text.slice(0, end), true, grown);
        if (grown.fence !== fence || grown.rest !== rest) return `parsed again at ${end}`;
      }
      const closed = blocksOf(`${text}\\n\\`\\`\\`\\nafter`, true, grown);
      return [grown.blocks.at(-1).nodes[0].text, closed.blocks.length];
    };
    """
    code = "".join(f"line_{number} = {number}  # `$x$` **b**\n" for number in range(400))
    assert run(script, f"```python\n{code}") == [code, 2]


HELD = """
import { blocksOf } from "own/markdown_parser.js";
const text = (nodes) =>
  nodes.map((node) => (node.type === "formula" ? "" : (node.text ?? text(node.children ?? [])))).join("");
const answer = (all) => all.map((whole) => {
  const seen = [];
  let grown;
  for (let end = 1; end <= whole.length; end += 1) {
    grown = blocksOf(whole.slice(0, end), true, grown);
    seen.push(grown.blocks.map(({ nodes }) => text(nodes)).join("\\n"));
  }
  return seen;
});
"""


def test_what_is_not_closed_yet_is_held_back() -> None:
    texts = [
        "So \\(\\frac{a}{b}\\) is",
        "So\n\n\\[\n\\frac{a}{b}\n\\]\n\nis",
        "So\n\n$$\\frac{a}{b}$$",
        "So\n\n$$\n\\frac{a}{b}\n$$\nis",
        "- So $\\frac{a}{b}$ is",
        "> \\[ \\frac{a}{b} \\]",
        "| a |\n|---|\n| \\(\\frac{a}{b}\\) |",
        "**So** $x_1 + \\frac{a}{b}$ is",
    ]
    for text, seen in zip(texts, run(HELD, texts), strict=True):
        assert not [state for state in seen if "\\" in state or "frac" in state], text
    (price,) = run(HELD, ["It costs $5, then $10 now"])
    assert price[-1] == "It costs $5, then $10 now"
    assert "It costs $5, t" in price


DRAWN = """
import { blocksOf } from "own/markdown_parser.js";
const found = (nodes) =>
  nodes.flatMap((node) => (["formula", "image"].includes(node.type) ? [node] : found(node.children ?? [])));
const answer = (all) => all.map((whole) => {
  const seen = [];
  let grown;
  for (let end = 1; end <= whole.length; end += 1) {
    grown = blocksOf(whole.slice(0, end), true, grown);
    const [node] = found(grown.blocks.flatMap(({ nodes }) => nodes));
    if (node && node.text !== seen.at(-1)) seen.push(node.text);
  }
  return seen;
});
"""


def test_formula_and_name_of_a_picture_are_drawn_while_they_are_written() -> None:
    lines = "\\[\n\\begin{aligned}\na &= \\left(b\\right) \\\\\nc &= \\frac{d}{e}\n\\end{aligned}\n\\]\n"
    texts = [lines, "$$x^{12}$$\n", "So \\(a + b\\) is", "a ![big cat](https://a.example/a.png) b"]
    aligned, power, inline, picture = run(DRAWN, texts)
    begin, end = "\\begin{aligned}", "\\end{aligned}"
    row = f"{begin}\na &= \\left(b\\right)"
    assert aligned == [
        f"{begin}{end}",
        f"{begin}\na{end}",
        f"{begin}\na &={end}",
        f"{begin}\na &= \\left(\\right.{end}",
        f"{begin}\na &= \\left(b\\right.{end}",
        f"{row}{end}",
        f"{row} \\\\\nc{end}",
        f"{row} \\\\\nc &={end}",
        f"{row} \\\\\nc &= \\frac{{}}{end}",
        f"{row} \\\\\nc &= \\frac{{d}}{end}",
        f"{row} \\\\\nc &= \\frac{{d}}{{}}{end}",
        f"{row} \\\\\nc &= \\frac{{d}}{{e}}{end}",
        f"{row} \\\\\nc &= \\frac{{d}}{{e}}\n{end}",
    ]
    assert power == ["x", "x^{}", "x^{1}", "x^{12}"]
    assert inline == ["a", "a +", "a + b"]
    assert picture == ["b", "bi", "big", "big c", "big ca", "big cat"]


def test_markup_that_is_not_closed_yet_does_not_flash() -> None:
    texts = [
        "**bold** and *more* of it",
        "see [the guide](https://example.com/a) now",
        "`code` end",
    ]
    for text, seen in zip(texts, run(HELD, texts), strict=True):
        assert not [state for state in seen if any(sign in state for sign in "*[]`")], text
        assert not [state for state in seen if "https" in state], text


def test_no_text_makes_a_tree_deeper_or_larger_than_a_page_can_bear() -> None:
    for (name, text), nodes in zip(HOSTILE.items(), parsed(list(HOSTILE.values())), strict=True):
        assert len(text) <= 4096, name
        assert depth(nodes) <= MAX_DEPTH, name
        assert sum(1 for _ in walk(nodes)) <= 5000, name


def test_what_nests_too_deep_is_plain_text_and_the_rest_is_drawn() -> None:
    deep = "> " * 2000 + "x"
    (nodes,) = parsed([f"# Before\n\n{deep}\n\nAfter **it**"])
    assert [node["type"] for node in nodes] == ["heading", "plain", "paragraph"]
    assert nodes[1]["text"] == deep
    (fine,) = parsed(["> " * 12 + "x"])
    assert of_type(fine, "plain") == []
    assert depth(fine) == 15


def test_large_tables_are_drawn_and_boundless_ones_are_text() -> None:
    wide = "|a" * 100 + "|\n" + "|-" * 100 + "|\n"
    dense = "|a|b|c|d|\n|-|-|-|-|\n" + "| word | word | word | word |\n" * 400
    too_wide = "|a" * 1000 + "|\n" + "|-" * 1000 + "|\n"
    hollow = "|a" * 64 + "|\n" + "|-" * 64 + "|\n" + "|\n" * 1800
    drawn = parsed([wide, dense, too_wide, hollow])
    assert [nodes[0]["type"] for nodes in drawn] == ["table", "table", "plain", "plain"]
    assert len(of_type(drawn[1], "td")) == 1600


def test_bounds_are_where_they_are_said_to_be() -> None:
    columns = [f"{'|a' * number}|\n{'|-' * number}|\n" for number in (100, 101)]
    # 1,960 and 2,009 cells, nearly all of them empty.
    hollow = ["|a" * 49 + "|\n" + "|-" * 49 + "|\n" + "|\n" * rows for rows in (38, 39)]
    paragraphs = ["*a*" + "b" * (length - 3) for length in (20_000, 20_001)]
    quotations = ["> " * levels + "x" for levels in (37, 38)]
    texts = [*columns, *hollow, *paragraphs, *quotations]
    plain = [bool(of_type(nodes, "plain")) for nodes in parsed(texts)]
    assert plain == [False, True] * 4
