"""`load_config`: every mistake at once, each with its key, its line and the key that was meant."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from trouper.adapters.config_document import parse_yaml
from trouper.adapters.config_model import (
    BackoffSettings,
    Caching,
    Config,
    Llm,
    MemorySettings,
    ParallelExecution,
    Performance,
)
from trouper.adapters.config_rules import Secret, rule_of, section_of
from trouper.adapters.config_yaml import DEFAULT_PATH, as_mapping, known_keys, load_config
from trouper.runtime import ConfigError, ConfigProblem

SEED_KEYS = {
    "connection_pooling": {"enabled": True, "max_connections": 100, "max_keepalive": 50},
    "rate_limiting": {"enabled": True, "rpm_limit": 10000, "tpm_limit": 2000000},
    "parallel_execution": {
        "enabled": True,
        "max_parallel_steps": 5,
        "max_parallel_llm_calls": 3,
        "dependency_analysis": True,
    },
    "batch_embeddings": {"enabled": True, "batch_size": 100},
    "caching": {"tool_catalog": True, "prompt_templates": True},
    "background_tasks": {"verification": True, "memory_updates": True},
}

OUR_KEYS = {
    "connection_pooling": {"keepalive_expiry": 30.0},
    "rate_limiting": {"burst_size": 100, "safety_margin": 0.9, "adaptive_concurrency": True},
    "parallel_execution": {
        "level_barrier": False,
        "stream_plan": True,
        "max_per_effect": {"pure": None, "keyed": None, "once": None},
    },
    "batch_embeddings": {"max_concurrent_batches": 2, "max_tokens": 100_000, "linger": 0.005},
    "caching": {
        "embeddings": True,
        "embeddings_half": False,
        "responses_on_disk": False,
        "responses_ttl": 86_400.0,
        "responses": "deterministic",
    },
}


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str | bytes) -> Path:
        path = tmp_path / "my.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def mistakes(source: object, **options: object) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(source, environ={}, **options)
    assert caught.value.problems
    return caught.value.problems


def the_mistake(source: object, **options: object) -> ConfigProblem:
    (problem,) = mistakes(source, **options)
    return problem


# ------------------------------------------------------------------ the file that is shipped


def test_the_shipped_file_says_exactly_the_defaults() -> None:
    """config.yaml and the code cannot drift apart: same values, and every key stands in the file."""
    assert load_config(None, environ={}) == load_config({}, environ={}) == Config()

    document = parse_yaml(DEFAULT_PATH.read_text(encoding="utf-8"))
    assert {".".join(path) for path in document.lines} >= set(known_keys())


def test_the_users_section_is_kept_key_for_key() -> None:
    performance = as_mapping(load_config(None, environ={}))["performance"]

    assert performance == {name: SEED_KEYS[name] | OUR_KEYS.get(name, {}) for name in SEED_KEYS}
    assert load_config({"performance": SEED_KEYS}, environ={}) == Config()


def test_every_key_of_the_shipped_file_is_read_from_the_file() -> None:
    """Each value changed in the file changes the configuration: no key is only decoration."""
    for key in known_keys():
        field_value = _other_value(key)
        overrides = [f"{key}={json.dumps(field_value)}"]
        if key == "local_llm.gguf":  # is refused without one
            overrides.append(f"local_llm.sha256={'0' * 64!r}")
        config = load_config(None, overrides=overrides, environ={})

        assert config != Config(), key


def _other_value(key: str) -> object:
    cls: type = Config
    *parents, leaf = key.split(".")
    for parent in parents:
        cls = section_of(attrs.fields_dict(cls)[parent])
    field = attrs.fields_dict(cls)[leaf]
    rule = rule_of(field)
    if rule.kind == "bool":
        return not field.default
    if rule.kind == "names":
        return ["default"]
    if rule.kind == "table":
        return {"another": {"model": "m"}}
    if rule.kind in {"int", "float"}:
        return (field.default or 2) / 2 if rule.kind == "float" and field.default else (field.default or 0) + 1
    if rule.choices:
        return next(choice for choice in rule.choices if choice != field.default)
    return {"base_url": "http://127.0.0.1:1/v1", "sha256": "a" * 64}.get(leaf, "other")


def test_missing_keys_and_empty_sections_take_their_defaults(write) -> None:
    path = write("llm:\n  # all commented out\nperformance:\n  caching: {embeddings: false}\n")

    config = load_config(path, environ={})

    assert config.llm == Llm()
    assert config.performance == Performance(caching=Caching(embeddings=False))


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "{}", "\ufeff{}"])
def test_an_empty_file_is_the_default(write, text: str) -> None:
    assert load_config(write(text), environ={}) == Config()


def test_a_config_is_its_own_source_and_can_be_overridden() -> None:
    mine = load_config({"llm": {"api_key": "k", "model": "m"}}, environ={})

    assert load_config(mine) is mine
    changed = load_config(mine, overrides=["llm.timeout=7"], environ={})
    assert changed == attrs.evolve(mine, llm=attrs.evolve(mine.llm, timeout=7.0))


# ------------------------------------------------------------------ mistakes


def test_three_mistakes_are_three_problems_with_path_line_and_near_key(write) -> None:
    path = write(
        "llm:\n"
        "  tiemout: 3\n"
        "performance:\n"
        "  parallel_execution:\n"
        "    max_parallel_steps: 0\n"
        '  caching: {tool_catalog: "false"}\n'
    )

    found = mistakes(path)

    assert [(p.line, p.path, p.nearest) for p in found] == [
        (2, "llm.tiemout", "llm.timeout"),
        (5, "performance.parallel_execution.max_parallel_steps", None),
        (6, "performance.caching.tool_catalog", None),
    ]
    assert "at least 1" in found[1].message
    assert "true or false" in found[2].message


def test_the_error_reads_well(write) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("run: {tiemout: 3}"), environ={})

    text = str(caught.value)
    assert text.endswith(
        "my.yaml has 1 mistake:\n- line 1: run.tiemout: there is no such key (did you mean 'run.timeout'?)"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("performance.caching.embeddings", '"false"'),
        ("performance.caching.embeddings", "1"),
        ("performance.caching.embeddings", "0"),
        ("performance.caching.embeddings", "null"),
        ("performance.caching.embeddings", "[]"),
        ("performance.batch_embeddings.batch_size", "true"),
        ("performance.batch_embeddings.batch_size", '"7"'),
        ("performance.batch_embeddings.batch_size", "2.9"),
        ("performance.batch_embeddings.batch_size", "2.0"),
        ("performance.batch_embeddings.batch_size", "0"),
        ("performance.batch_embeddings.batch_size", "2049"),
        ("performance.batch_embeddings.batch_size", "9" * 500),
        ("performance.rate_limiting.safety_margin", "0"),
        ("performance.rate_limiting.safety_margin", "1.01"),
        ("performance.rate_limiting.safety_margin", ".nan"),
        ("performance.rate_limiting.safety_margin", "true"),
        ("run.timeout", ".inf"),
        ("run.timeout", "-1"),
        ("run.timeout", "1e3"),
        ("run.timeout", "9" * 500),
        ("llm.model", "4"),
        ("llm.model", '""'),
        ("llm.model", '" "'),
        ("llm.model", '"a\\0b"'),
        ("llm.model", "{a: b}"),
        ("llm.base_url", "localhost:8000"),
        ("llm.base_url", "file:///etc/passwd"),
        ("llm.base_url", '"http://a b/"'),
        ("llm.base_url", "http://a:99999/v1"),
        ("llm.base_url", "http://a:b/v1"),
        ("llm.base_url", '"http://[::1/v1"'),
        ("llm.base_url", "http://:8000/v1"),
        ("performance.caching.responses", "on"),
        ("llm.max_tokens", "0"),
        ("planner.mode", "rule"),
        ("permissions.network", "no"),
        ("permissions.network", "Allow"),
        ("observability.log_level", "INFO"),
    ],
)
def test_a_wrong_type_or_range_is_a_mistake(write, key: str, value: str) -> None:
    *parents, leaf = key.split(".")
    head = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(parents))

    problem = the_mistake(write(f"{head}{'  ' * len(parents)}{leaf}: {value}\n"))

    assert (problem.path, problem.line) == (key, len(parents) + 1)
    assert the_mistake(None, overrides=[f"{key}={value}"]).path == key


@pytest.mark.parametrize("value", ["off", '"off"', "false"])
def test_off_needs_no_quotes_where_it_is_a_word(write, value: str) -> None:
    """YAML reads it as false."""
    path = write(f"performance:\n  caching:\n    responses: {value}\n")

    assert load_config(path).performance.caching.responses == "off"
    assert (
        load_config(None, overrides=[f"performance.caching.responses={value}"]).performance.caching.responses == "off"
    )


@pytest.mark.parametrize("url", ["http://[::1]:8000/v1", "https://who:pa%2Fss@a.example:8443/v1", "http://a.example"])
def test_an_address_may_have_a_port_a_user_and_no_path(url: str) -> None:
    assert load_config({"llm": {"base_url": url}}).llm.base_url == url


def test_a_whole_number_may_stand_where_a_number_is_wanted() -> None:
    config = load_config({"run": {"timeout": 7}, "llm": {"max_tokens": 9}}, environ={})

    assert repr(config.run.timeout) == "7.0"
    assert config.llm.max_tokens == 9


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"preformance": {}}, "performance"),
        ({"llm": {"api-key": None}}, "llm.api_key"),
        ({"performance": {"rate": {}}}, "performance.rate_limiting"),
        ({"performance": {"parallel_execution": {"rpm_limit": 1}}}, "performance.rate_limiting.rpm_limit"),
        ({"tool_catalogue": True}, "performance.caching.tool_catalog"),
        ({"zzz": 1}, None),
        ({7: 1}, None),
        ({"x" * 5000: 1}, None),
    ],
)
def test_an_unknown_key_names_the_one_that_was_meant(written: object, meant: str | None) -> None:
    problem = the_mistake(written)

    assert problem.nearest == meant
    assert len(str(problem)) < 300


def test_a_key_that_stands_twice_is_a_mistake(write) -> None:
    problem = the_mistake(write("run: {timeout: 1}\nllm: {model: a}\nrun: {timeout: 2}\n"))

    assert (problem.path, problem.line) == ("run", 3)
    assert "line 1" in problem.message


def test_two_keys_that_do_not_go_together_are_a_mistake_of_their_section(write) -> None:
    problem = the_mistake(write("supervision:\n  backoff: {min: 9, max: 1}\n"))

    assert (problem.path, problem.line) == ("supervision.backoff", 2)
    assert "9" in problem.message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("llm:\n  model: [", 3),
        ("a: 1\n  b: 2\n", 2),
        ("llm:\n\tmodel: x\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("run: !!python/name:os.system x", 1),
        ("a: *nobody", 1),
    ],
)
def test_a_syntax_error_is_one_mistake_with_its_line(write, text: str, line: int) -> None:
    problem = the_mistake(write(text))

    assert problem.line is not None
    assert abs(problem.line - line) <= 1  # yaml points at where it noticed
    assert "YAML" in problem.message


def test_yaml_makes_no_objects(write) -> None:
    """Only the safe loader's types: a tag that would call something is a mistake, and calls nothing."""
    problem = the_mistake(write("run: !!python/object/apply:os._exit [3]"))

    assert (problem.path, problem.line) == ("run", 1)


@pytest.mark.parametrize("value", ["9" * 5000, "2024-13-45"])
def test_a_value_that_yaml_itself_cannot_make_is_one_mistake(write, value: str) -> None:
    assert the_mistake(write(f"run:\n  timeout: {value}\n")).path == "run.timeout"


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "7"])
def test_a_file_that_is_not_a_mapping_is_one_mistake(write, text: str) -> None:
    assert "mapping" in the_mistake(write(text)).message


def test_a_file_that_multiplies_itself_is_refused(write) -> None:
    """Nine aliases of nine aliases of ...: bounded, and each of its unknown keys is named."""
    levels = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    found = mistakes(write("\n".join(levels)))

    assert any("10000 values" in p.message for p in found)
    assert len(found) == 13


def test_a_file_that_contains_itself_is_refused(write) -> None:
    assert mistakes(write("llm: &a\n  model: *a\n"))[0].path.startswith("llm")


def test_deep_nesting_is_refused(write) -> None:
    assert "deep" in the_mistake(write("llm: " + "[" * 1500)).message


def test_files_that_cannot_be_read_are_one_mistake(write, tmp_path: Path) -> None:
    assert "no such file" in the_mistake(tmp_path / "none.yaml").message
    assert "cannot be read" in the_mistake(tmp_path).message
    assert "cannot be read" in the_mistake("~nobody-at-all/x.yaml").message
    assert "cannot be read" in the_mistake("a\0b").message
    assert "UTF-8" in the_mistake(write("llm: {model: ü}".encode("latin-1"))).message
    assert "KiB" in the_mistake(write("#" * 300_000)).message


# ------------------------------------------------------------------ --set


def test_overrides_win_and_are_read_as_yaml(write) -> None:
    path = write("llm: {model: a, timeout: 1}\nperformance: {caching: {embeddings: true}}\n")

    config = load_config(
        path,
        overrides=["llm.model=b=c", "performance.caching={embeddings: false}", "llm.timeout=2", "llm.timeout=3.5"],
        environ={},
    )

    assert (config.llm.model, config.llm.timeout) == ("b=c", 3.5)
    assert not config.performance.caching.embeddings


def test_mistakes_of_overrides_join_those_of_the_file(write) -> None:
    found = mistakes(
        write("run: {timeout: 0}\nllm: {model: 3}"),
        overrides=["llm.model=good", "no-equals-sign", "=1", "a..b=1", "verifier.timeout=[", "llm.model.x=1"],
    )

    assert [p.path for p in found] == ["run.timeout", "--set", "--set", "--set", "verifier.timeout", "llm.model"]
    assert found[0].line == 1
    assert all(p.line is None for p in found[1:])


def test_a_very_long_override_path_is_a_mistake() -> None:
    assert the_mistake(None, overrides=["a." * 100_000 + "b=1"]).path == "--set"


# ------------------------------------------------------------------ secrets


def test_a_secret_comes_from_the_environment() -> None:
    def key(source: object, **environ: str) -> str | None:
        found = load_config(source, environ=environ).llm.api_key
        return None if found is None else found.reveal()

    assert key(None, OPENAI_API_KEY="sk-1\n") == "sk-1"
    assert key({}, OPENAI_API_KEY="sk-1") == "sk-1"
    assert key({"llm": {"api_key": "${MINE}"}}, OPENAI_API_KEY="sk-1", MINE="sk-2") == "sk-2"
    assert key({"llm": {"api_key": "sk-3"}}, OPENAI_API_KEY="sk-1") == "sk-3"
    assert key({"llm": {"api_key": None}}, OPENAI_API_KEY="sk-1") is None
    assert key(None) is None
    assert key(None, OPENAI_API_KEY=" ") is None


def test_references_stand_for_secrets_only() -> None:
    assert "secret" in the_mistake({"memory": {"path": "${HOME}/m"}}).message


@pytest.mark.parametrize(
    "value", ["12345678901", "true", "[sk-hidden]", "{sk-hidden: 1}", '"$OPENAI"', "${A}sk-hidden"]
)
def test_a_wrong_secret_is_a_mistake_that_does_not_show_it(write, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(f"llm:\n  api_key: {value}\n"), overrides=["llm.api_key sk-hidden"], environ={})

    shown = f"{caught.value} {caught.value.problems!r}"
    assert "llm.api_key" in shown
    assert "hidden" not in shown
    assert "12345" not in shown


def test_a_syntax_error_beside_a_secret_does_not_show_it(write) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write("llm: {api_key: sk-hidden, model: [}\n"), environ={})

    error: BaseException | None = caught.value
    while error is not None:
        assert "hidden" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


def test_secrets_never_print() -> None:
    config = load_config({"llm": {"api_key": "sk-hidden"}}, environ={})
    key = config.llm.api_key

    assert key == Secret("sk-hidden")
    shown = [repr(config), str(key), f"{key}", repr(as_mapping(config)), str(copy.deepcopy(config))]
    assert not any("hidden" in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(config)
    with pytest.raises(TypeError):
        json.dumps(as_mapping(config))


# ------------------------------------------------------------------ built in Python


def test_sections_built_in_python_keep_the_same_rules() -> None:
    with pytest.raises(ValueError, match="max_parallel_steps: must be at least 1"):
        ParallelExecution(max_parallel_steps=0)
    with pytest.raises(ValueError, match="true or false"):
        Caching(embeddings=1)
    with pytest.raises(ValueError, match="at least min"):
        BackoffSettings(min=2, max=1)
    with pytest.raises(TypeError):
        Config(llm={"model": "x"})


def test_memories_lie_where_xdg_says() -> None:
    default = Path("~/.local/share/trouper/memory.sqlite").expanduser()

    assert MemorySettings().file({}) == default
    assert MemorySettings().file({"XDG_DATA_HOME": "relative"}) == default
    assert MemorySettings().file({"XDG_DATA_HOME": "/data"}) == Path("/data/trouper/memory.sqlite")
    assert MemorySettings(path="~/m.sqlite").file({}) == Path("~/m.sqlite").expanduser()


def test_a_model_is_configured_by_a_key_or_an_address() -> None:
    assert not Llm().configured
    assert Llm(api_key=Secret("k")).configured
    assert Llm(base_url="http://127.0.0.1:8000/v1").configured


@pytest.mark.io
def test_importing_the_loader_does_not_import_yaml() -> None:
    code = (
        "import sys; import trouper.adapters.config_yaml as c; assert 'yaml' not in sys.modules; "
        "c.load_config({}); assert 'yaml' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ------------------------------------------------------------------ tables and lists of names
def test_a_model_of_a_name_has_the_keys_of_a_model(write) -> None:
    path = write(
        "llm:\n  models:\n    cheap: {model: small, base_url: 'http://127.0.0.1:1/v1', rpm_limit: 5}\n    bare:\n"
    )

    config = load_config(path, environ={"OPENAI_API_KEY": "k"})

    assert config.llm.models["cheap"].model == "small"
    assert config.llm.models["cheap"].rpm_limit == 5
    assert config.llm.models["cheap"].api_key is None  # the environment's key is for `llm` only
    assert config.llm.models["bare"] == config.llm.models["bare"].__class__()


def test_mistakes_inside_a_table_have_their_path_and_line(write) -> None:
    path = write("llm:\n  models:\n    cheap:\n      modle: small\n      rpm_limit: none\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})

    assert [(p.path, p.line, p.nearest) for p in caught.value.problems] == [
        ("llm.models.cheap.modle", 4, "llm.models.cheap.model"),
        ("llm.models.cheap.rpm_limit", 5, None),
    ]


@pytest.mark.parametrize("value", ["cheap", "[1]", "[default, default]", "{a: b}", "[nobody]", "['']"])
def test_a_role_takes_a_list_of_known_names(write, value: str) -> None:
    with pytest.raises(ConfigError):
        load_config(write(f"llm:\n  roles:\n    planner: {value}\n"), environ={})


def test_a_role_may_name_further_models_and_the_local_one(write) -> None:
    path = write("llm:\n  models: {cheap: {model: small}}\n  roles: {planner: [default, cheap, local]}\n")

    assert load_config(path, environ={}).llm.roles.planner == ("default", "cheap", "local")


def test_a_model_may_not_take_the_name_of_another_one(write) -> None:
    with pytest.raises(ConfigError, match="'local' is the name of a model that is described elsewhere"):
        load_config(write("llm:\n  models: {local: {model: small}}\n"), environ={})


def test_a_local_model_needs_the_sum_of_its_file(write) -> None:
    with pytest.raises(ConfigError, match="gguf needs sha256"):
        load_config(write("local_llm: {gguf: model.gguf}\n"), environ={})


def test_a_table_is_no_list_and_takes_a_bounded_number_of_names(write) -> None:
    many = ", ".join(f"m{i}: {{}}" for i in range(65))
    for models in ("[a, b]", "{" + many + "}"):
        with pytest.raises(ConfigError):
            load_config(write(f"llm:\n  models: {models}\n"), environ={})
