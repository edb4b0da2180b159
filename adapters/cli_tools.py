"""`--tools module:attribute`: finding a user's own tools, with one clear sentence for each way to get it wrong."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from .cli_exit import BadInput

if TYPE_CHECKING:
    from trouper.actors.tool import Tool

_OURS = frozenset(Path(__file__).parent.with_name(ring) for ring in ("actors", "adapters", "runtime"))
"""What is wrong with a user's function is found out in there."""


def load_tools(specs: Iterable[str]) -> list[Tool]:
    """The tools that each `module:attribute` names, in order.

    The current directory is looked through first. It stays importable afterwards, but last: a file there must
    not take the place of a library that somebody imports later.

    Raises:
        BadInput: what is wrong with the first spec that is.
    """
    tools: dict[str, Tool] = {}
    for spec in specs:
        for tool in _tools_of(spec):
            if tools.setdefault(tool.name, tool) is not tool:
                raise BadInput(f"--tools {spec}: there is already a tool called {tool.name!r}; give one `name=`")
    return list(tools.values())


def _tools_of(spec: str) -> Sequence[Tool]:
    module_name, colon, attribute = spec.partition(":")
    if not colon or not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise BadInput(f"--tools {spec}: write it as module:attribute, such as my_tools:tools (no path, no `.py`)")
    module = _import(spec, module_name)
    found = getattr(module, attribute, None)
    if found is None:
        near = get_close_matches(attribute, [name for name in vars(module) if not name.startswith("_")], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"--tools {spec}: {_where(module)} has no {attribute!r}{hint}")
    return _as_tools(spec, found)


def _as_tools(spec: str, found: object) -> Sequence[Tool]:
    from trouper.actors.tool import Tool

    if isinstance(found, Tool):
        return [found]
    if not isinstance(found, list | tuple):
        raise BadInput(f"--tools {spec}: that is {_shown(found)}, not a tool or a list of tools{_hint(found)}")
    if not found:
        raise BadInput(f"--tools {spec}: that list is empty")
    for n, item in enumerate(found):
        if not isinstance(item, Tool):
            raise BadInput(f"--tools {spec}: item {n} is {_shown(item)}, not a tool{_hint(item)}")
    return found


def _shown(found: object) -> str:
    if isinstance(found, type):
        return f"the class {found.__name__}"
    name = type(found).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _hint(found: object) -> str:
    return "; put @trouper.tool above it" if callable(found) and not isinstance(found, type) else ""


def _import(spec: str, name: str) -> ModuleType:
    # The module will use `trouper`, whose names are imported when they are used: from here on all of them are there,
    # so that nothing they import is looked for in the current directory.
    from . import config_yaml, wiring  # noqa: F401

    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            message = f"there is no module {error.name!r}, neither in {here} nor installed"
            raise BadInput(f"--tools {spec}: {message}") from error
        raise _broken(spec, name, error) from error
    except (Exception, SystemExit) as error:
        # SystemExit too: a script that was meant to be run ends itself when it is imported.
        raise _broken(spec, name, error) from error
    finally:
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


def _broken(spec: str, name: str, error: BaseException) -> BadInput:
    return BadInput(f"--tools {spec}: importing {name!r} failed{_line(error)}: {type(error).__name__}: {error}")


def _line(error: BaseException) -> str:
    """Where in the user's own code it happened."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the place
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    mine = [f for f in frames if "importlib" not in f.filename and Path(f.filename).parent not in _OURS]
    return f" at {mine[-1].filename}:{mine[-1].lineno}" if mine else ""


def _where(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)
