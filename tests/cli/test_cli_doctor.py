"""`trouper doctor`: every line says ok, warn or fail, and what to do about it."""

from __future__ import annotations

import importlib.metadata

import pytest

from trouper.adapters import doctor

pytestmark = pytest.mark.io


def findings(said) -> dict[str, dict]:
    return {f["name"]: f for f in said.json["findings"]}


def test_a_fresh_machine_is_fine_and_says_which_planner_is_at_work_and_why(here, tmp_path):
    said = here("doctor", "--json")

    found = findings(said)
    assert (said.code, said.json["ok"]) == (0, True)
    assert found["planner"]["detail"].startswith("rules: no model is configured")
    assert found["embedder"]["detail"].startswith("wordllama: ")
    assert found["trio"]["detail"] == importlib.metadata.version("trio")
    assert found["memory"]["detail"] == f"{tmp_path / 'data' / 'trouper' / 'memory.sqlite'} (will be made)"
    assert found["workdir"]["detail"] == str(here.cwd)
    assert found["journal"]["detail"] == f"{tmp_path / 'state' / 'trouper' / 'runs'} (will be made)"


def test_looking_changes_nothing(here, tmp_path):
    here("doctor")

    assert sorted(tmp_path.rglob("*")) == [here.cwd]


def test_a_person_reads_one_line_each_with_advice_where_it_is_needed(here):
    (here.cwd / "a_file").write_text("")

    said = here("doctor", "--set", "memory.path=a_file/memory.sqlite")

    assert said.code == 1
    lines = said.out.splitlines()
    at, beside = [n for n, line in enumerate(lines) if line.startswith("FAIL")]
    assert "memory" in lines[at]
    assert lines[at + 1].strip() == "-> set memory.path to a file that you may write"
    assert "documents" in lines[beside]  # they are kept beside the memory
    assert all(line.startswith("ok") for n, line in enumerate(lines) if n not in {at, at + 1, beside, beside + 1})


def test_what_is_there_and_no_memory_is_found_out(here):
    (here.cwd / "memory.sqlite").write_text("I am a poem, not a database. " * 100)

    said = here("doctor", "--json", "--set", "memory.path=memory.sqlite")

    assert said.code == 1
    assert findings(said)["memory"]["status"] == "fail"


def test_a_place_where_no_run_could_be_written_down_is_found_out(here):
    (here.cwd / "a_file").write_text("")

    said = here("doctor", "--json", "--set", "journal.path=a_file/runs")

    assert said.code == 1
    assert findings(said)["journal"]["status"] == "fail"
    assert "journal.path" in findings(said)["journal"]["advice"]


def test_memories_are_counted(here):
    here("remember", "one", "two")

    said = here("doctor", "--json")

    assert findings(said)["memory"]["detail"].endswith("(2 memories)")


def test_a_work_directory_that_is_none_fails(here):
    said = here("doctor", "--json", "--set", "tools.workdir=nowhere")

    assert said.code == 1
    assert findings(said)["workdir"]["status"] == "fail"


def test_the_configuration_is_named_and_own_tools_are_listed(here):
    (here.cwd / "mine.yaml").write_text("planner: {mode: rules}\n")
    (here.cwd / "shouting.py").write_text(
        "import trouper\n@trouper.tool\ndef shout(text: str) -> str:\n    'Louder.'\n    return text\n"
    )

    said = here("doctor", "--json", "--config", "mine.yaml", "--set", "memory.k=3", "--tools", "shouting:shout")

    found = findings(said)
    assert found["config"]["detail"] == "mine.yaml, with 1 key from --set"
    assert found["planner"]["detail"] == "rules: planner.mode is rules"
    assert found["tool shout"] == {"name": "tool shout", "status": "ok", "detail": "once", "advice": ""}


@pytest.mark.parametrize(("package", "code", "status"), [("faiss-cpu", 1, "fail"), ("wordllama", 0, "warn")])
def test_a_missing_package_is_said_with_what_to_install(here, monkeypatch, package, code, status):
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)

    said = here("doctor", "--json")

    assert said.code == code
    assert findings(said)[package]["status"] == status
    assert f"pip install {package}" in findings(said)[package]["advice"]


def test_a_package_that_is_there_and_broken_is_found_by_importing_it(here, monkeypatch):
    """In a process of its own, so that one that dies is found out too."""
    (here.cwd / "torn.py").write_text("raise ImportError('wrong processor')\n")
    (here.cwd / "deadly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setattr(doctor, "PACKAGES", {"attrs": "attrs", "click": "torn", "rich": "deadly"})

    said = here("doctor", "--json", "--imports")

    found = findings(said)
    assert said.code == 1
    assert found["import attrs"]["status"] == "ok"
    assert found["import torn"]["detail"] == "ImportError: wrong processor"
    assert found["import deadly"]["detail"] == "its process ended with -4"


def test_all_findings_count_as_the_worst_of_them():
    one, two, three = (doctor.Finding("x", status, "") for status in ("ok", "warn", "fail"))

    assert doctor.worst_of([one]) == "ok"
    assert doctor.worst_of([two, one]) == "warn"
    assert doctor.worst_of([one, three, two]) == "fail"


def test_the_documents_are_looked_at_too(here):
    (here.cwd / "a.txt").write_text("The gate is green.\n")
    before = here("doctor", "--json")
    here("index", "a.txt", "--quiet")

    after = here("doctor", "--json")

    assert "(will be made)" in findings(before)["documents"]["detail"]
    assert "(1 passages of 1 files)" in findings(after)["documents"]["detail"]
