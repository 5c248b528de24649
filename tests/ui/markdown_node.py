"""The parser of replies, as built, in the bundled Node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aisaas.settings import PROJECT_ROOT
from childprocess.node import node_program

BUILT = PROJECT_ROOT / ".web" / "components" / "own"

Node = Mapping[str, Any]


def run(script: str, given: object) -> Any:
    """What a module's default function makes of `given`; both travel as JSON.

    Args:
        script: JavaScript that may import our files as `own/…`, and defines `answer(given)`.
    """
    program = (
        script.replace('"own/', f'"{BUILT.as_uri()}/')
        + "\nlet all = ''; for await (const part of process.stdin) all += part;"
        + "\nprocess.stdout.write(JSON.stringify(answer(JSON.parse(all)) ?? null));"
    )
    result = subprocess.run(  # our own program
        [node_program(), "--input-type=module", "--eval", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        cwd=BUILT,
        env={"PATH": os.defpath},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


WHOLE = """
import { blocksOf } from "own/markdown_parser.js";
const answer = (texts) => texts.map((text) => blocksOf(text, false).blocks);
"""


def parsed(texts: Sequence[str]) -> list[list[Node]]:
    """The nodes of each text, without the blocks they stand in."""
    return [[node for block in blocks for node in block["nodes"]] for blocks in run(WHOLE, texts)]


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from walk(node.get("children", ()))


def of_type(nodes: Sequence[Node], kind: str) -> list[Node]:
    return [node for node in walk(nodes) if node["type"] == kind]


def shown(nodes: Sequence[Node]) -> str:
    """The text that a reader sees, formulas apart."""
    return "".join(
        node.get("text", "") for node in walk(nodes) if node["type"] not in ("formula", "image")
    )


def depth(nodes: Sequence[Node]) -> int:
    return 1 + max((depth(node.get("children", ())) for node in nodes), default=0)


def sample(name: str) -> str:
    return (Path(__file__).with_name("replies") / f"{name}.md").read_text("utf-8")
