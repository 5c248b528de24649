"""Model providers from variables and from a file; what is wrong with them is named, never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from aisaas.errors import ConfigurationError
from aisaas.providers import KNOWN, RESERVED, SWITCHES
from aisaas.settings import Settings, load
from childprocess import environment as children
from tests.settings.test_settings import CANARY, DEVELOPMENT, PRODUCTION

WITHOUT = {name: value for name, value in DEVELOPMENT.items() if name != "OPENAI_API_KEY"}
ALONE = {
    "openai": {"OPENAI_API_KEY": "k"},
    "anthropic": {"ANTHROPIC_API_KEY": "k"},
    "gemini": {"GEMINI_API_KEY": "k"},
    "mistral": {"MISTRAL_API_KEY": "k"},
    "groq": {"GROQ_API_KEY": "k"},
    "openrouter": {"OPENROUTER_API_KEY": "k"},
    "azure": {"AZURE_API_KEY": "k", "AZURE_API_BASE": "https://ours.openai.azure.com"},
    "bedrock": {"AWS_REGION_NAME": "us-east-1", "AWS_BEARER_TOKEN_BEDROCK": "k"},
    "deepseek": {"DEEPSEEK_API_KEY": "k"},
    "xai": {"XAI_API_KEY": "k"},
    "together_ai": {"TOGETHERAI_API_KEY": "k"},
    "fireworks_ai": {"FIREWORKS_AI_API_KEY": "k"},
    "cerebras": {"CEREBRAS_API_KEY": "k"},
    "moonshot": {"MOONSHOT_API_KEY": "k"},
    "ollama": {"OLLAMA_API_BASE": "http://127.0.0.1:11434"},
    "demo": {"DEMO_API_BASE": "http://127.0.0.1:1/v1"},
}


def read(patch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        patch.setenv(name, value)
    return load()


def refused(patch: pytest.MonkeyPatch, variables: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(patch, variables)
    text = "\n".join(caught.value.problems)
    assert CANARY not in text
    return text


def written(folder: Path, text: str, name: str = "providers.toml") -> dict[str, str]:
    path = folder / name
    path.write_text(text)
    return WITHOUT | {"MODEL_PROVIDERS": str(path)}


def test_every_known_provider_is_tested_here() -> None:
    assert set(ALONE) == {known.id for known in KNOWN}


@pytest.mark.parametrize("name", ALONE)
def test_each_provider_is_switched_on_by_its_variables_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(monkeypatch, WITHOUT | ALONE[name])
    assert settings.providers() == {name}
    assert settings.provider_access()[name].id == name
    assert name == "demo" or SWITCHES.count(next(iter(ALONE[name]))) == 1


def test_several_are_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {variable: v for own in ALONE.values() for variable, v in own.items()}
    assert read(monkeypatch, WITHOUT | everything).providers() == set(ALONE)


def test_keys_of_aws_alone_are_on_many_machines_and_switch_nothing_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": CANARY}
    assert "bedrock" not in read(monkeypatch, DEVELOPMENT | keys).providers()
    both = read(monkeypatch, DEVELOPMENT | keys | {"AWS_REGION_NAME": "eu-central-1"})
    assert both.provider_access()["bedrock"].access() == {
        "aws_region_name": "eu-central-1",
        "aws_access_key_id": "id",
        "aws_secret_access_key": CANARY,
    }


def test_half_of_a_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    half = {"AZURE_API_KEY": CANARY, "AWS_REGION_NAME": "us-east-1"}
    problems = refused(monkeypatch, DEVELOPMENT | half)
    for variable in ("AZURE_API_BASE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert f"{variable}: is not set" in problems


TOML = """
[[providers]]
id = "groq-eu"
label = "Groq, EU"
prefix = "groq"
key_variable = "GROQ_EU_KEY"
base = "https://eu.groq.example.com/v1/"
headers = { X-Team = "chat", X-Token = "env:GATEWAY_TOKEN" }
parameters = { seed = 7 }

[[providers]]
id = "vllm"
prefix = "openai"
base = "http://10.0.0.7:8000/v1"
billed = false
"""
NAMED = {"GROQ_EU_KEY": f"gsk-{CANARY}", "GATEWAY_TOKEN": f"gate-{CANARY}"}


def test_the_file_adds_providers_and_names_the_variables_of_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(monkeypatch, written(tmp_path, TOML) | NAMED | {"GROQ_API_KEY": "g"})
    assert settings.providers() == {"groq", "groq-eu", "vllm"}
    ours = settings.provider_access()["groq-eu"]
    assert (ours.label, ours.key_variable, ours.billed) == ("Groq, EU", "GROQ_EU_KEY", True)
    assert ours.access() == {
        "api_key": f"gsk-{CANARY}",
        "api_base": "https://eu.groq.example.com/v1",
        "extra_headers": {"X-Team": "chat", "X-Token": f"gate-{CANARY}"},
        "seed": 7,
    }
    keyless = settings.provider_access()["vllm"]
    assert (keyless.access()["api_key"], keyless.billed) == ("none", False)


def test_keys_of_the_file_may_stand_in_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("".join(f"{name}={value}\n" for name, value in NAMED.items()))
    monkeypatch.setitem(Settings.model_config, "env_file", dotenv)
    settings = read(monkeypatch, written(tmp_path, TOML))
    assert settings.provider_access()["groq-eu"].key == SecretStr(f"gsk-{CANARY}")


def test_json_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"id": "vllm", "prefix": "openai", "base": "http://10.0.0.7:8000/v1"}
    for content in ([entry], {"providers": [entry]}):
        settings = read(monkeypatch, written(tmp_path, json.dumps(content), "providers.json"))
        assert settings.providers() == {"vllm"}


def test_an_entry_of_the_file_replaces_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[[providers]]\nid = "openai"\nprefix = "openai"\nkey_variable = "OTHER"\n'
    settings = read(
        monkeypatch, written(tmp_path, text) | {"OPENAI_API_KEY": "one", "OTHER": "two"}
    )
    ours = settings.provider_access()["openai"]
    assert (ours.label, ours.key) == ("OpenAI", SecretStr("two"))
    # OpenAI's address is said: no variable of the library's decides where the key goes.
    assert ours.access()["api_base"] == "https://api.openai.com/v1"


def test_secrets_of_the_file_are_known_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(monkeypatch, written(tmp_path, TOML) | NAMED)
    secrets = dict(settings.secrets())
    assert set(NAMED.values()) <= set(secrets.values())
    # A header that isn't secret may be on a page.
    assert "chat" not in secrets.values()
    shown = f"{settings!r} {settings.provider_access()!r} {settings.model_dump_json()}"
    assert CANARY not in shown
    assert CANARY not in json.dumps(settings.browser_values())


def test_children_inherit_no_key_of_a_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {known.key: f"key-{CANARY}" for known in KNOWN if known.key}
    everything = written(tmp_path, TOML) | NAMED | keys
    for name, value in everything.items():
        monkeypatch.setenv(name, value)
    for inherited in (children.for_server(), children.for_python(), children.for_node()):
        assert not everything.keys() & inherited.keys()
        assert CANARY not in str(inherited)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[providers]]\nid = 'x'", "prefix"),
        ("[[providers]]\nid = 'X Y'\nprefix = 'groq'", "id"),
        ("[[providers]]\nid = 'x'\nprefix = 'groq'\nkey = 'gsk'", "key"),
        ("[[providers]]\nid = 'x'\nprefix = 'groq'\nkey_variable = 'NOT_SET'", "NOT_SET"),
        ("[[providers]]\nid = 'x'\nprefix = 'groq'\nheaders = {a = 'env:NOPE'}", "NOPE"),
        ("[[providers]]\nid = 'x'\nprefix = 'groq'\nheaders = {a = \"b\\nc\"}", "headers"),
        ("[[providers]]\nid = 'x'\nprefix = 'groq'\nheaders = {Authorization='b'}", "key_variable"),
        ("[[providers]]\nid = 'x'\nprefix = 'groq'\nbase = 'ftp://x'", "base"),
        ("[[providers]]\nid = 'x'\nprefix = 'groq'\nbase = 'https://a:b@x'", "password"),
        ("[[providers]]\nid = 'demo'\nprefix = 'groq'", "demo"),
        ("[[providers]]\nid='x'\nprefix='groq'\n[[providers]]\nid='x'\nprefix='xai'", "twice"),
        ("providers = []", "at least 1"),
        ("providers = 7", "list"),
        ("not toml", "parsed"),
    ],
)
def test_what_is_wrong_with_the_file_is_named(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = refused(monkeypatch, written(tmp_path, text))
    assert problems.startswith("MODEL_PROVIDERS: ")
    assert said in problems


def test_a_key_written_into_the_file_by_mistake_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"[[providers]]\nid='x'\nprefix='groq'\nkey_variable='gsk-{CANARY}'"
    assert "key_variable" in refused(monkeypatch, written(tmp_path, text))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_parameter_may_decide_what_the_guards_decide(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "[[providers]]\nid='x'\nprefix='groq'\n"
    for parameters in (f"{{ {name} = 2 }}", f"{{ extra_body = {{ {name} = 2 }} }}"):
        assert name in refused(monkeypatch, written(tmp_path, f"{head}parameters = {parameters}"))


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "can't be read" in refused(monkeypatch, WITHOUT | {"MODEL_PROVIDERS": "/no/such.toml"})


@pytest.mark.parametrize(
    ("keyed", "base", "fit"),
    [
        (True, "https://models.example.com", True),
        (True, "http://models.example.com", False),
        (False, "http://10.0.0.7:8000/v1", True),
    ],
)
def test_a_key_goes_over_https_in_production(
    keyed: bool, base: str, fit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"[[providers]]\nid='x'\nprefix='openai'\nbase='{base}'\n"
    text += "key_variable = 'X_KEY'\n" if keyed else ""
    variables = PRODUCTION | written(tmp_path, text) | {"X_KEY": "k"}
    variables |= {name: PRODUCTION[name] for name in PRODUCTION}
    if fit:
        assert "x" in read(monkeypatch, variables).providers()
    else:
        assert "https in production" in refused(monkeypatch, variables)
