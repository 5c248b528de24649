"""A build that follows the address it is opened at."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisaas.ui.reflex_patches.one_origin import PLACEHOLDER, OneOrigin

SOCKET = PLACEHOLDER.replace("http", "ws")


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_addresses_of_the_back_end_become_the_pages_own(tmp_path: Path, quote: str) -> None:
    script = tmp_path / "env.js"
    baked = (f"{quote}{PLACEHOLDER}/ping{quote}", f"{quote}{SOCKET}/_event{quote}")
    script.write_text(f"var e={{PING:{baked[0]},EVENT:{baked[1]}}};")
    OneOrigin().post_build(static_dir=tmp_path)
    assert script.read_text() == (
        "var e={PING:`${location.origin}/ping`,"
        "EVENT:`${location.origin.replace(/^http/,`ws`)}/_event`};"
    )


@pytest.mark.parametrize("content", ["nothing to replace", f"`{PLACEHOLDER}/a`,`x{PLACEHOLDER}`"])
def test_build_that_would_call_nobody_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "env.js").write_text(content)
    with pytest.raises(RuntimeError, match="front end has"):
        OneOrigin().post_build(static_dir=tmp_path)
