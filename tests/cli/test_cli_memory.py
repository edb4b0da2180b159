"""`trouper remember` and `trouper recall`: what one process was told, the next one knows."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.io


def test_what_was_remembered_is_recalled_by_another_process_best_first(user):
    told = user("remember", "The release is on Friday", "My favourite editor is vim", "Bread needs salt", "--quiet")
    found = user("recall", "which editor do I like?", "-k", "2", "--json", "--quiet")

    assert told.code == 0
    assert told.out.startswith("Remembered 3 memories (")
    memories = found.json["memories"]
    assert memories[0]["content"] == "My favourite editor is vim"
    assert len(memories) <= 2
    assert all(m.keys() >= {"id", "content", "score"} for m in memories)
    assert [m["score"] for m in memories] == sorted((m["score"] for m in memories), reverse=True)


def test_memories_from_standard_input_are_one_a_line(here):
    said = here("remember", "-", "--json", stdin=b"first thing\n\n  second thing  \n")
    again = here("remember", "-", "--json", stdin=b"second thing\n")

    assert said.code == 0
    assert len(said.json["ids"]) == 2
    assert again.json["ids"] == said.json["ids"][1:]


def test_a_person_reads_score_and_text(here):
    here("remember", "My favourite editor is vim")

    said = here("recall", "editor")

    assert said.code == 0
    assert said.out.strip().endswith("  My favourite editor is vim")


def test_the_configuration_says_how_many_when_k_does_not(here):
    here("remember", "one apple", "two apples", "three apples")

    said = here("recall", "apples", "--json", "--set", "memory.k=1")

    assert len(said.json["memories"]) == 1


def test_nothing_found_is_an_empty_answer_and_no_failure(here):
    said = here("recall", "anything", "--json")
    told = here("recall", "anything")

    assert (said.code, said.json) == (0, {"memories": []})
    assert (told.code, told.out) == (0, "")
    assert "nothing is remembered about that" in told.err


def test_a_memory_that_cannot_be_opened_is_one_message_and_1(here):
    (here.cwd / "a_file").write_text("as it was")

    for command in ("remember", "recall"):
        said = here(command, "x", "--set", "memory.path=a_file/memory.sqlite", "--quiet")

        assert (said.code, said.out) == (1, "")
        assert "a_file/memory.sqlite" in said.err
        assert "Traceback" not in said.err
