"""remember and recall: readable texts go in, and what they claim is looked up in the store."""

import attrs
import pytest

from trouper.actors.tool import Effect, ToolContext
from trouper.adapters import tools_memory
from trouper.runtime import BadArguments


@attrs.frozen
class Kept:
    id: int
    content: str
    score: float = 0.5
    category: str = "fact"
    created: float = 1_795_424_904.7


class Store:
    """A memory that finds what shares a word."""

    def __init__(self):
        self.texts = {}

    async def remember(self, texts):
        ids = []
        for text in texts:
            known = next((i for i, t in self.texts.items() if t == text), None)
            ids.append(known or len(self.texts) + 1)
            self.texts[ids[-1]] = text
        return tuple(ids)

    async def recall(self, query, k):
        words = set(query.lower().split())
        found = [Kept(i, t) for i, t in self.texts.items() if words & set(t.lower().split())]
        return found[:k]

    async def get(self, ids):
        return [Kept(i, self.texts[i]) for i in ids if i in self.texts]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def tools(store):
    return {t.name: t for t in tools_memory.make(store, lookup=store.get)}


async def call(tool, **parameters):
    return await tool.call(parameters, ToolContext())


async def test_a_fact_is_kept_and_found(tools, store):
    stored = await call(tools["remember"], fact="my favourite editor is vim")
    found = await call(tools["recall"], query="which editor")

    assert stored == {"ids": [1], "stored": 1, "texts": ["my favourite editor is vim"]}
    from_where = {"category": "fact", "created": "2026-11-23"}
    assert found["memories"] == [{"id": 1, "content": "my favourite editor is vim", "score": 0.5, **from_where}]
    assert (found["count"], found["text"]) == (1, "my favourite editor is vim")
    assert (await tools["remember"].verify({}, stored, None)).verdict == "ok"
    assert (await tools["recall"].verify({}, found, None)).verdict == "ok"


async def test_keeping_the_same_twice_is_keeping_it_once(tools, store):
    first = await call(tools["remember"], fact="x")
    again = await call(tools["remember"], fact=["x", "x", "y"])

    assert first["ids"] == [1]
    assert again == {"ids": [1, 2], "stored": 2, "texts": ["x", "y"]}
    assert tools["remember"].effect is Effect.KEYED


@pytest.mark.parametrize(
    ("fact", "label", "texts"),
    [
        ({"expression": "(128+256)/3", "value": 128, "text": "(128+256)/3 = 128"}, "", ["(128+256)/3 = 128"]),
        (
            {"expression": "1+1", "value": 2, "text": "1+1 = 2"},
            "batch size",
            ["batch size: 1+1 = 2"],
        ),
        ({"summary": "All is well.", "sentences": [], "method": "extractive"}, "", ["All is well."]),
        ({"path": "a.txt", "content": "the text\n", "lines": 1}, "", ["the text"]),
        (
            {"pattern": "TODO", "count": 3, "files": 2, "by_file": {"a": 1, "b": 2}, "matches": []},
            "",
            ["3 lines match 'TODO' in 2 files\n- a: 1\n- b: 2"],
        ),
        (128, "size", ["size: 128"]),
        (["one", "two"], "", ["one", "two"]),
    ],
)
async def test_results_of_steps_are_kept_as_readable_text(tools, fact, label, texts):
    assert (await call(tools["remember"], fact=fact, label=label))["texts"] == texts


async def test_a_long_text_becomes_several_memories(tools, store):
    paragraphs = [f"Paragraph {i}. " + "word " * 100 for i in range(12)]
    long = "\n\n".join(paragraphs) + "\n\n" + "".join(f"y{i}" for i in range(1200))

    result = await call(tools["remember"], fact=long)

    assert all(len(t) <= tools_memory.MAX_TEXT for t in result["texts"])
    assert "".join("".join(result["texts"]).split()) == "".join(long.split())


@pytest.mark.parametrize(
    ("tool", "parameters", "message"),
    [
        ("remember", {"fact": "  "}, "there is nothing to remember"),
        ("remember", {"fact": []}, "there is nothing to remember"),
        ("remember", {"fact": [str(i) for i in range(51)]}, "summarize it first"),
        ("recall", {"query": " "}, "it is empty"),
        ("recall", {"query": "x", "k": 0}, "k: 0 is not between 1 and 100"),
        ("recall", {"query": "x", "k": 101}, "k: 101"),
    ],
)
async def test_what_cannot_be_kept_or_asked_is_refused(tools, store, tool, parameters, message):
    with pytest.raises(BadArguments, match=message):
        await call(tools[tool], **parameters)

    assert store.texts == {}


async def test_nothing_found_is_said_and_not_verified(tools):
    found = await call(tools["recall"], query="birthday")

    assert found == {
        "query": "birthday",
        "memories": [],
        "count": 0,
        "text": "nothing is remembered about birthday",
        "untrusted": True,
    }
    assert (await tools["recall"].verify({}, found, None)).verdict == "unverifiable"


async def test_false_claims_are_refuted(tools, store):
    stored = await call(tools["remember"], fact=["a b", "c d"])
    found = await call(tools["recall"], query="a c", k=2)
    forged = [found["memories"][0] | {"content": "forged"}, found["memories"][1]]

    for lie in (stored | {"ids": [1]}, stored | {"ids": [1, 9]}, stored | {"texts": ["a b", "other"]}):
        assert (await tools["remember"].verify({}, lie, None)).verdict == "refuted"
    for lie in (found | {"count": 3}, found | {"memories": forged}):
        assert (await tools["recall"].verify({}, lie, None)).verdict == "refuted"


async def test_without_a_look_into_the_store_nothing_is_verified(store):
    remember, recall = tools_memory.make(store)
    stored = await call(remember, fact="a")

    assert (await remember.verify({}, stored, None)).verdict == "unverifiable"
    assert (await recall.verify({}, await call(recall, query="a"), None)).verdict == "unverifiable"
