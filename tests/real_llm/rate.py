"""How many freely worded goals a model of yours plans: `python -m tests.real_llm.rate MODEL.gguf`.

The goals are those of tests/data/goals/loose.json, in words that the rules were not made for; the judge is the one that
judges the rules. Takes about two minutes with 135 million weights and one thread.
"""

from __future__ import annotations

import collections
import sys

import trio

import trouper
from tests.goals.judge import verdict
from tests.goals.rate import load
from trouper.actors.local_form import understand
from trouper.actors.rules.form_compiler import ACTIONS, compile_form
from trouper.adapters.llm_local import LocalModel
from trouper.adapters.local_settings import LocalSettings
from trouper.runtime import GoalRefused, SupervisorSpec


async def rate(gguf: str) -> collections.Counter[str]:
    """Plan each goal and judge it: how many of which fate, `possible` and `impossible` apart."""
    # On a busy machine the first prompt, of 1,600 tokens, has taken longer than the two minutes of the default.
    model = LocalModel(LocalSettings(gguf=gguf, sha256=None), timeout=900.0)
    fates: collections.Counter[str] = collections.Counter()
    async with trouper.open_system() as system:
        await system.start_supervisor(SupervisorSpec(children=[model.child()]))
        for goal in load("loose"):
            kind = "possible" if goal["possible"] else "impossible"
            try:
                understood = await understand(goal["goal"], model.complete)
            except GoalRefused:
                fates[f"{kind}: refused"] += 1
                continue
            why = verdict(goal, compile_form(understood.form, actions=ACTIONS)) if goal["possible"] else "it cannot be"
            fates[f"{kind}: planned by {understood.by}, {'wrong' if why else 'sensible'}"] += 1
            if why:
                print(f"{goal['goal']}: {why}")
    return fates


def main(arguments: list[str]) -> None:
    """Print the table."""
    for fate, number in sorted(trio.run(rate, arguments[0]).items()):
        print(f"{number:>4}  {fate}")


if __name__ == "__main__":
    main(sys.argv[1:])
