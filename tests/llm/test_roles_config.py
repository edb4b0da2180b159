"""From `llm`, `llm.models` and `llm.roles` to what the door and the limiter are given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from trouper.actors.model_spending import Prices
from trouper.actors.protocols import ChatModel
from trouper.adapters.config_yaml import load_config
from trouper.adapters.http_seam import HttpPool
from trouper.adapters.llm_none import NoModel
from trouper.adapters.llm_scripted import ScriptedModel
from trouper.adapters.wiring_models import Models, build_models
from trouper.runtime import ConfigError

HOME, AWAY = "https://home.example/v1", "https://away.example/v1"
NONE: dict[str, object] = {"api_key": None}
MANY: dict[str, object] = {
    "base_url": HOME,
    "api_key": "home-key",
    "model": "large",
    "max_tokens": 500,
    "rpm_limit": 60,
    "prices": {"prompt": 2.0, "completion": 8.0, "cached": 0.5},
    "models": {
        "small": {"model": "tiny", "prices": {"prompt": 0.1}, "max_tokens": 50, "tpm_limit": 1000, "charge": "actual"},
        "again": {"model": "large", "timeout": 5.0},
        "away": {"base_url": AWAY, "model": "large"},
        "known": {"base_url": AWAY, "model": "large", "api_key": "away-key"},
    },
    "roles": {"planner": ["default", "away"], "verifier": ["small"]},
}


@asynccontextmanager
async def built(llm: Mapping[str, object], own: ChatModel | None = None) -> AsyncIterator[Models]:
    pool = HttpPool()
    try:
        yield build_models(load_config({"llm": dict(llm)}), pool, own)
    finally:
        await pool.aclose()


async def test_every_model_has_its_own_name_price_and_length_and_inherits_the_rest() -> None:
    async with built(MANY) as models:
        told = {name: (e.model.name, e.prices, e.max_tokens) for name, e in models.entries.items()}

    assert told == {
        "default": ("large", Prices(prompt=2.0, completion=8.0, cached=0.5), 500),
        "small": ("tiny", Prices(prompt=0.1), 50),
        "again": ("large", Prices(), 500),
        "away": ("large", Prices(), 500),
        "known": ("large", Prices(), 500),
    }


async def test_a_scope_is_a_model_under_a_key_at_an_address_and_shows_no_key() -> None:
    async with built(MANY) as models:
        scopes = {name: entry.scope for name, entry in models.entries.items()}

    assert scopes["default"] == scopes["again"]
    assert len(set(scopes.values())) == 4
    assert not any("key" in scope for scope in scopes.values())


async def test_each_scope_has_the_limits_that_were_set_for_it() -> None:
    async with built(MANY) as models:
        limits = {name: models.limits[entry.scope] for name, entry in models.entries.items()}

    assert limits["default"] is not None
    assert limits["small"] is not None
    assert (limits["default"].rpm, limits["default"].charge) == (60, "auto")  # also where `again` sets none
    assert (limits["small"].tpm, limits["small"].charge) == (1000, "actual")


async def test_every_role_asks_the_models_it_names_and_else_the_default() -> None:
    async with built(MANY) as models:
        roles = models.roles

    assert (roles["planner"], roles["verifier"], roles["tool"]) == (("default", "away"), ("small",), ("default",))


async def test_a_model_of_ones_own_stands_in_the_place_of_the_default() -> None:
    mine = ScriptedModel(name="mine")
    async with built(MANY, mine) as models:
        entry = models.entries["default"]
        closed_here = models.mine

    assert (entry.model, entry.prices.prompt, entry.max_tokens) == (mine, 2.0, 500)
    assert mine not in closed_here


async def test_without_any_model_there_is_one_that_says_so() -> None:
    async with built(NONE) as models:
        assert isinstance(models.entries["default"].model, NoModel)
        assert not models.any


@pytest.mark.parametrize(
    ("llm", "told"),
    [
        ({"roles": {"planner": ["larg"]}}, "there is no model 'larg'; known are default, local"),
        ({"models": {"default": {}}}, "is the name of a model that is described elsewhere"),
        ({"models": {"m": {"modle": "x"}}}, "modle"),
        ({"roles": {"planner": ["local"]}}, "the model 'local' is not configured"),
    ],
)
async def test_a_model_that_is_not_there_is_a_mistake_of_the_configuration(llm, told) -> None:
    with pytest.raises(ConfigError, match=told):
        async with built({**NONE, **llm}):
            pass


async def test_a_model_in_another_file_is_another_scope_and_so_has_other_kept_answers() -> None:
    """Its name is `local` whatever the file is: answers on disk would be those of the one before."""
    pool = HttpPool()
    built = [
        build_models(load_config({"local_llm": {"gguf": "model.gguf", "sha256": digest * 64}}), pool)
        for digest in ("a", "b", "A")
    ]
    scopes = [models.entries["local"].scope for models in built]
    await pool.aclose()

    assert scopes[0] == scopes[2] != scopes[1]
    assert [models.limits[scope] for models, scope in zip(built, scopes, strict=True)] == [None] * 3  # nobody limits it
