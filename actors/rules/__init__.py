"""The rules planner: a grammar that fills the intent form, and the compiler that makes a plan of it.

`grammar` reads a goal in three steps: `spans` finds what a goal points at (paths, quotes, numbers), the files named
for a kind of clause read the clauses (`search`, `files`, `memory`, `calculation`, `facts`, `sinks`), and `gate`
refuses whatever is left over on either side. Pure: no trio, no I/O.
"""

from .form import Form
from .form_compiler import compile_form
from .grammar import PATTERNS, parse_goal

__all__ = ["PATTERNS", "Form", "compile_form", "parse_goal"]
