"""How long the model server's model thinks: exact, repeatable, and cheaper for what it knows."""

from __future__ import annotations

import pytest

from trouper.adapters.model_server_times import ModelTime, Network, Thinking, ThinkingTimes, message_tokens

SYSTEM = {"role": "system", "content": "s" * 400}
GOAL = {"role": "user", "content": "g" * 40}


def test_a_chat_costs_its_first_token_its_prompt_and_its_answer() -> None:
    times = ThinkingTimes(ModelTime(first=0.5, per_prompt_token=0.001, per_completion_token=0.01), seed=0)
    thinking = times.chat([SYSTEM, GOAL], "a" * 80)

    assert (thinking.prompt_tokens, thinking.completion_tokens) == (118, 20)
    assert (thinking.before, thinking.writing) == (pytest.approx(0.618), pytest.approx(0.2))
    assert thinking.seconds == pytest.approx(0.818)


def test_embeddings_cost_a_call_and_their_tokens() -> None:
    times = ThinkingTimes(ModelTime(first=9.0, embedding=0.1, per_embedded_token=0.01), seed=0)

    assert times.embeddings(["a" * 40, "b" * 4]) == Thinking(prompt_tokens=11, before=pytest.approx(0.21))


def test_a_known_beginning_costs_no_time_and_is_told_as_cached() -> None:
    """Whole messages count, from the first on: a change at the top makes everything below new."""
    times = ThinkingTimes(ModelTime(per_prompt_token=0.001, prefix_cache=True), seed=0)
    first, second = times.chat([SYSTEM, GOAL], ""), times.chat([SYSTEM, {**GOAL, "content": "another"}], "")
    other = times.chat([{**SYSTEM, "content": "x"}, GOAL], "")

    assert (first.cached_tokens, second.cached_tokens, other.cached_tokens) == (0, message_tokens(SYSTEM), 0)
    assert second.before == pytest.approx(0.001 * (second.prompt_tokens - second.cached_tokens))


def test_without_a_prefix_cache_nothing_is_known() -> None:
    times = ThinkingTimes(ModelTime(per_prompt_token=0.001), seed=0)

    assert [times.chat([SYSTEM, GOAL], "").cached_tokens for _ in range(2)] == [0, 0]


def test_the_spread_is_the_calls_own_and_the_seeds() -> None:
    def seconds(seed: int, content: str) -> float:
        times = ThinkingTimes(ModelTime(first=1.0, spread=0.3), seed=seed)
        return times.chat([{"content": content}], "").before

    taken = [seconds(1, f"{n}") for n in range(50)]
    assert taken == [seconds(1, f"{n}") for n in range(50)]
    assert taken != [seconds(2, f"{n}") for n in range(50)]
    assert min(taken) >= 0.7
    assert max(taken) <= 1.3
    assert len(set(taken)) == 50


@pytest.mark.parametrize(
    "wrong", [{"first": -1}, {"spread": 1.0}, {"first": float("inf")}, {"per_prompt_token": "1"}, {"embedding": True}]
)
def test_times_that_are_none_are_refused_when_they_are_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ModelTime(**wrong)


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="round_trip"):
        Network(round_trip=-0.1)
