"""`load_config`: a YAML file, a mapping or nothing at all becomes a valid `Config`, or one error with every mistake.

The rules stand on the fields of `config_model`; here they are only asked. cattrs would do the walking too,
but it turns `"false"` into True and 2.9 into 2 unless each scalar gets a strict hook, and it knows nothing
of lines, of nearest keys and of secrets; the walk below is shorter than the hooks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from trouper.runtime import ConfigError, ConfigProblem

from .config_document import FILE, MAX_BYTES, MAX_DEPTH, UNREADABLE, Document, KeyPath, dotted, parse_yaml
from .config_model import Config
from .config_rules import Rule, Secret, entry_of, rule_of, section_of, spoken

S = TypeVar("S")

DEFAULT_PATH = Path(__file__).parent.parent / "config.yaml"
"""The configuration that Trouper ships, and that documents itself."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_config(
    source: str | Path | Mapping[str, object] | Config | None = None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read a configuration; keys that are missing take their defaults.

    Args:
        source: The path of a YAML file, a mapping of the same shape, a `Config`, or `None` for the
            configuration that Trouper ships.
        overrides: `a.b.c=value` strings that win over the source; the value is read as YAML.
        environ: Where `${NAME}` in secrets is looked up; the process's environment if `None`.

    Raises:
        ConfigError: every mistake at once, each with its key, its line in the file and the nearest valid key.
    """
    if isinstance(source, Config) and not overrides:
        return source
    name, document = _document(source)
    if source is None and overrides:
        name = "the configuration given with overrides (--set)"
    given = _apply(document, overrides)
    walk = _Walk(document.lines, given, os.environ if environ is None else environ)
    config = walk.section(Config, document.data, ())
    problems = [*document.problems, *walk.problems]
    if problems or config is None:
        problems.sort(key=lambda p: (p.line is None, p.line or 0))
        raise ConfigError(problems, source=name)
    return config


def as_mapping(config: Config) -> dict[str, Any]:
    """The configuration as nested dicts, secrets still hidden in their `Secret`."""
    return attrs.asdict(config)


def known_keys() -> tuple[str, ...]:
    """Every key of the configuration, dotted, in the order of the file."""
    return tuple(dotted(path) for path, holds_value in _keys(Config) if holds_value)


def _document(source: str | Path | Mapping[str, object] | Config | None) -> tuple[str, Document]:
    if isinstance(source, Config):
        return "configuration", Document(data=as_mapping(source))
    if isinstance(source, Mapping):
        return "configuration", Document(data=source)
    path = DEFAULT_PATH if source is None else Path(source)
    document = parse_yaml(_read(path))
    if document.problems and document.data is None:
        raise ConfigError(document.problems, source=str(path))
    return str(path), document


def _read(path: Path) -> str:
    """The file's text; at most `MAX_BYTES` are read, so that even `/dev/zero` ends."""
    try:
        with path.expanduser().open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _unreadable(path, "there is no such file; give the path of a YAML file") from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~` of nobody
        raise _unreadable(path, f"cannot be read: {error}") from error
    if len(raw) > MAX_BYTES:
        raise _unreadable(path, f"is larger than {MAX_BYTES // 1024} KiB, which no configuration is")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"is not UTF-8 text (byte {error.start})", line) from error


def _unreadable(path: Path, why: str, line: int | None = None) -> ConfigError:
    return ConfigError([ConfigProblem(path=FILE, message=why, line=line)], source=str(path))


def _apply(document: Document, overrides: Sequence[str]) -> set[KeyPath]:
    """Write the overrides over the document's data; gives the paths that now come from them."""
    given: set[KeyPath] = set()
    for number, override in enumerate(overrides, 1):
        key, equals, value = override.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        if not equals or not all(path) or len(path) > MAX_DEPTH:
            # The text is not repeated: it may hold a secret.
            message = f"--set number {number} must have the form a.b.c=value"
            document.problems.append(ConfigProblem(path="--set", message=message))
            continue
        parsed = parse_yaml(value)
        for problem in parsed.problems:
            message = f"{problem.message} (in the value given with --set)"
            document.problems.append(ConfigProblem(path=dotted(path), message=message))
        if not parsed.problems:
            document.data = _replaced(document.data, path, parsed.data)
            given.add(path)
    return given


def _replaced(data: object, path: KeyPath, value: object) -> object:
    """`data` with `value` at `path`; what is in the way gives way, for the walk to judge."""
    if not path:
        return value
    inner = dict(data) if isinstance(data, Mapping) else {}
    inner[path[0]] = _replaced(inner.get(path[0]), path[1:], value)
    return inner


class _Walk:
    """One look at the data, section by section, gathering what is wrong."""

    def __init__(self, lines: Mapping[KeyPath, int], given: set[KeyPath], environ: Mapping[str, str]) -> None:
        self.problems: list[ConfigProblem] = []
        self._lines = lines
        self._given = given
        self._environ = environ

    def section(self, cls: type[S], data: object, path: KeyPath) -> S | None:
        """An instance of `cls`, or `None` when anything in it was wrong."""
        before = len(self.problems)
        if data is None:  # every key of the section is commented out
            data = {}
        if not isinstance(data, Mapping):
            self._problem(path, f"needs keys and values (a mapping), got {spoken(data)}")
            return None
        fields = attrs.fields_dict(cast("type[attrs.AttrsInstance]", cls))
        for key in data:
            if key not in fields:
                self._unknown((*path, str(key)), fields)
        values = {
            name: self._value(field, data.get(name, attrs.NOTHING), (*path, name)) for name, field in fields.items()
        }
        if len(self.problems) > before:
            return None
        try:
            return cls(**{name: value for name, value in values.items() if value is not attrs.NOTHING})
        except ValueError as error:  # two keys that do not go together
            self._problem(path, str(error))
            return None

    def _value(self, field: attrs.Attribute[Any], value: object, path: KeyPath) -> object:
        if (inner := section_of(field)) is not None:
            return self.section(inner, None if value is attrs.NOTHING else value, path)
        if value is UNREADABLE:
            return attrs.NOTHING
        rule = rule_of(field)
        if rule.kind == "secret":
            return self._secret(rule, value, path)
        if (entry := entry_of(field)) is not None:
            return self._table(entry, rule, value, path)
        if isinstance(value, str) and _REFERENCE.search(value):
            self._problem(path, "${NAME} stands for a secret only; write the value itself")
            return None
        if value is not attrs.NOTHING and (why := rule.problem(value)):
            self._problem(path, why)
        return value

    def _table(self, entry: type[Any], rule: Rule, value: object, path: KeyPath) -> object:
        """Names of the user's own, each with a section."""
        if value is None or value is attrs.NOTHING:
            return attrs.NOTHING
        if why := rule.problem(value):
            self._problem(path, why)
            return None
        named = cast("Mapping[str, object]", value)
        return {str(name): self.section(entry, section, (*path, str(name))) for name, section in named.items()}

    def _secret(self, rule: Rule, value: object, path: KeyPath) -> object:
        """A reference becomes what the environment says, absent if that is nothing."""
        if value is attrs.NOTHING:
            value = f"${{{rule.environ}}}" if rule.environ else None
        if value is None or isinstance(value, Secret):
            return value
        # Whatever stands here may be a key that somebody wrote without quotes: it is not shown.
        text = value.strip() if isinstance(value, str) else ""
        if reference := _REFERENCE.fullmatch(text):
            text = self._environ.get(reference[1], "").strip()
            return Secret(text) if text else None
        if not text or text.startswith("$"):
            self._problem(path, f"needs {rule.wants()}; put it in quotes")
            return None
        return Secret(text)

    def _unknown(self, path: KeyPath, siblings: Mapping[str, object]) -> None:
        near = _nearest(path, list(siblings))
        self._problem(path, "there is no such key", dotted(near) if near else None)

    def _problem(self, path: KeyPath, message: str, nearest: str | None = None) -> None:
        if any(path[: len(given)] == given for given in self._given):
            message, line = f"{message} (given with --set)", None
        else:
            line = self._lines.get(path)
        where = dotted(path) or "configuration"
        self.problems.append(ConfigProblem(path=where, message=message, line=line, nearest=nearest))


def _nearest(path: KeyPath, siblings: Sequence[str]) -> KeyPath | None:
    """The valid key that was meant: one beside it, else one of that name elsewhere."""
    *parents, key = path
    word = key[:60].replace("-", "_")
    beside = [s for s in siblings if len(word) > 2 and s.startswith(word)]
    if found := beside or get_close_matches(word, siblings, n=1, cutoff=0.6):
        return (*parents, found[0])
    elsewhere = {known[-1]: known for known, _ in _keys(Config)}
    found = get_close_matches(word, elsewhere, n=1, cutoff=0.8)
    return elsewhere[found[0]] if found else None


def _keys(cls: type[Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, bool]]:
    """Every key and section below `cls`, and whether it holds a value."""
    for field in attrs.fields(cls):
        here, inner = (*path, field.name), section_of(field)
        yield here, inner is None
        if inner is not None:
            yield from _keys(inner, here)
