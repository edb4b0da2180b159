"""How often the default finds what a paraphrased question is about: the figure of the documentation."""

from __future__ import annotations

import pytest

from tests.benchmarks.memory_questions import questions, rate
from trouper.adapters.embed_none import NoEmbedder
from trouper.adapters.embed_wordllama import WordLlamaEmbedder, wordllama_folder

pytestmark = pytest.mark.io


def test_the_set_is_what_it_says() -> None:
    pairs = questions()

    assert len(pairs) == len({text for text, _ in pairs}) == len({question for _, question in pairs}) == 120


@pytest.mark.skipif(wordllama_folder() is None, reason="wordllama has no wheel for this platform")
async def test_the_default_answers_four_of_five_paraphrased_questions_with_the_right_memory_first() -> None:
    found = await rate(WordLlamaEmbedder(), hybrid=True)

    assert found.share >= 0.80, found.missed
    assert found.held_out >= 45


async def test_without_an_embedder_words_alone_find_some() -> None:
    assert (await rate(NoEmbedder(), hybrid=True)).share >= 0.35
