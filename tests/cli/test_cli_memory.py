"""`trouper remember` and `trouper recall`: what one process was told, the next one knows."""

from __future__ import annotations

import json

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

    for command in (["remember", "x"], ["recall", "x"], ["forget", "1"], ["memory", "stats"], ["memory", "export"]):
        said = here(*command, "--set", "memory.path=a_file/memory.sqlite", "--quiet")

        assert (said.code, said.out) == (1, "")
        assert "a_file/memory.sqlite" in said.err
        assert "Traceback" not in said.err


def test_namespaces_tags_and_metadata_decide_what_is_recalled_and_forgotten(here):
    here("remember", "an apple for Anna", "--namespace", "anna", "--tag", "fruit", "--category", "note")
    here("remember", "an apple for all")

    mine = here("recall", "apple", "--json", "--quiet", "--namespace", "anna", "--category", "note", "--tag", "fruit")
    assert [m["content"] for m in mine.json["memories"]] == ["an apple for Anna"]
    assert (mine.json["memories"][0]["namespace"], mine.json["memories"][0]["tags"]) == ("anna", ["fruit"])
    assert here("recall", "apple", "--json", "--namespace", "anna").json == mine.json  # whatever its category is
    assert here("recall", "apple", "--json", "--namespace", "anna", "--category", "fact").json == {"memories": []}
    here("remember", "an apple that a run has found", "--category", "episode")
    assert [m["content"] for m in here("recall", "apple", "--json").json["memories"]] == ["an apple for all"]
    assert here("recall", "apple", "--json", "--where", "a=1").json == {"memories": []}
    assert here("forget", "--all", "--json").json == {"forgotten": 2}
    assert here("forget", "--tag", "fruit", "--json").json == {"forgotten": 0}
    assert here("forget", "1", "--namespace", "anna").out == "Forgot 1 memory.\n"


def test_what_is_to_be_forgotten_has_to_be_said(here):
    for arguments, why in (
        ([], "say what to forget"),
        (["--all", "7"], "--all stands alone"),
        (["--where", "x"], "KEY=VALUE"),
        (["0"], "ID"),
    ):
        said = here("forget", *arguments)

        assert (said.code, said.out) == (2, "")
        assert why in said.err


def test_a_memory_is_carried_from_one_place_to_another(here):
    here("remember", "one", "two", "--namespace", "anna", "--ttl", "9999")
    told = here("memory", "export", "out.jsonl")
    lines = (here.cwd / "out.jsonl").read_text().splitlines()
    here("forget", "--all", "--namespace", "anna")
    again = here("memory", "import", "out.jsonl", "--json")
    shown = here("memory", "stats", "--json")

    assert told.out == "Wrote 2 memories to out.jsonl.\n"
    assert [m["content"] for m in map(json.loads, lines)] == ["one", "two"]
    assert again.json == {"imported": 2}
    assert (shown.json["memories"], shown.json["namespaces"]) == (2, 1)
    assert here("memory", "export", "--namespace", "bob").out == ""
    assert len(here("memory", "export").out.splitlines()) == 2
    assert here("memory", "import", "-", "--json", stdin=b"{\n").code == 2
    assert here("memory", "import", "missing").code == 2


def test_metadata_is_given_and_filtered_by_as_json_or_text(here):
    here("remember", "an apple", "--meta", "room=4", "--meta", "who=Anna", "--meta", "tags=[1, 2]")
    here("remember", "an apple too", "--meta", "room=5")

    for where in (["room=4"], ["who=Anna", "room=4"], ["room=[4, 6]"]):
        conditions = [word for one in where for word in ("--where", one)]
        found = here("recall", "apple", "--json", *conditions).json["memories"]
        assert [m["content"] for m in found] == ["an apple"]
    assert found[0]["meta"] == {"room": 4, "who": "Anna", "tags": [1, 2]}
    assert here("recall", "apple", "--json", "--where", 'room="4"').json == {"memories": []}
    refused = here("remember", "x", "--meta", "room")
    assert (refused.code, "KEY=VALUE" in refused.err) == (2, True)


def test_a_line_of_input_ends_where_everybody_says_it_does(here):
    """U+2028 and its like end no line: neither of memories that are read, nor of an export."""
    text = "first\u2028half\x85and the rest"
    assert here("remember", "-", "--json", stdin=f"\ufeff{text}\r\nanother\n".encode()).json == {"ids": [1, 2]}
    here("memory", "export", "out.jsonl")
    (here.cwd / "out.jsonl").write_text("\ufeff" + (here.cwd / "out.jsonl").read_text() + "\n\n")
    here("forget", "--all")

    assert here("memory", "import", "out.jsonl", "--json").json == {"imported": 2}
    assert [m["content"] for m in here("recall", "first half", "--json", "-k", "1").json["memories"]] == [text]


def test_a_damaged_export_is_refused_with_every_bad_line_and_nothing_is_imported(here):
    here("remember", "one", "two")
    here("memory", "export", "out.jsonl")
    here("forget", "--all")
    good = (here.cwd / "out.jsonl").read_text()
    (here.cwd / "out.jsonl").write_text("{\n" + good + "[7]\n")
    refused = here("memory", "import", "out.jsonl")

    assert (refused.code, refused.out) == (2, "")
    assert "line 1:" in refused.err
    assert "line 4:" in refused.err
    assert here("memory", "stats", "--json").json["memories"] == 0


def test_an_empty_namespace_is_not_the_default_one(here):
    here("remember", "mine")
    refused = here("forget", "--all", "--namespace", "")

    assert (refused.code, "namespace" in refused.err) == (2, True)
    assert here("memory", "stats", "--json").json["memories"] == 1
