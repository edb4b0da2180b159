"""A trio program with a nursery of its own: two goals side by side, a third that is given up, a clean end."""

import tempfile
from pathlib import Path

import trio

import trouper


async def answer(troupe: trouper.Troupe, goal: str) -> None:
    outcome = await troupe.execute(goal, timeout=30)
    print(f"{goal}\n  {outcome.status.value}: {outcome.answer}")


async def give_up(troupe: trouper.Troupe, goal: str) -> None:
    with trio.move_on_after(0.001) as patience:
        await troupe.execute(goal)
    print(f"{goal}\n  {'given up' if patience.cancelled_caught else 'done'}")


async def main(folder: str) -> None:
    Path(folder, "notes.txt").write_text("TODO call Ana\nThe order is on its way.\nTODO pay the bill\n")
    config = {"planner": {"mode": "rules"}, "memory": {"path": f"{folder}/memory.sqlite"}}
    async with trouper.open_troupe(config, workdir=folder) as troupe, trio.open_nursery() as nursery:
        nursery.start_soon(answer, troupe, "Count the TODOs in notes.txt")
        nursery.start_soon(answer, troupe, "What is 17% of 2340?")
        nursery.start_soon(give_up, troupe, "Find every TODO in notes.txt and write a report to todo.md")
    assert not Path(folder, "todo.md").exists()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        trio.run(main, directory)
