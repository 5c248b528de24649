"""`.env.example` and the settings tell the same story."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from aisaas.settings import PROJECT_ROOT, Settings, load

EXAMPLE = PROJECT_ROOT / ".env.example"
VARIABLE = re.compile(r"#?([A-Z][A-Z0-9_]*)=(.*)")
REQUIRED = {
    "database_url": "postgresql://app@db.example.com/postgres",
    "redis_url": "redis://redis.example.com",
    "supabase_url": "https://project.supabase.co",
    "supabase_publishable_key": "sb_publishable_x",
    "supabase_secret_key": "sb_secret_x",
    "session_secret": "x" * 48,
    "openai_api_key": "sk-x",
}


def _variables() -> list[str]:
    found = [VARIABLE.fullmatch(line) for line in EXAMPLE.read_text().splitlines()]
    return [match[1] for match in found if match]


def test_example_lists_every_setting_once_and_nothing_else() -> None:
    assert sorted(_variables()) == sorted(name.upper() for name in Settings.model_fields)


def test_every_variable_is_explained_right_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for above, line in pairwise(lines):
        if VARIABLE.fullmatch(line):
            assert re.fullmatch(r"# \S.{15,}", above), line
            assert not above.endswith("---"), line


def test_example_has_nothing_set_until_someone_sets_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_values_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    """Removing every # leaves the instance as it was."""
    env_file = tmp_path / ".env"
    env_file.write_text(re.sub(r"(?m)^#(?=[A-Z][A-Z0-9_]*=)", "", EXAMPLE.read_text()))
    assert "\nPORT=3000\n" in env_file.read_text()
    assert load(_env_file=env_file, **REQUIRED) == load(_env_file=None, **REQUIRED)


def test_defaults_that_are_not_blank_are_shown() -> None:
    text = EXAMPLE.read_text()
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        # The data folder's default depends on where the project lies.
        if default in (None, ()) or name == "aisaas_data_dir":
            continue
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        assert f"#{name.upper()}={shown}\n" in text
