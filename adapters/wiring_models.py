"""From the configuration to the models behind the door: which there are, whom each role asks, what each may use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from trouper.actors.model_routes import DEFAULT, ModelEntry
from trouper.actors.model_spending import Prices
from trouper.actors.planner import PlannerMode
from trouper.actors.protocols import ChatModel, Embedder, TokenCounter
from trouper.actors.tokens import TokenEstimates
from trouper.runtime import ChildSpec, ConfigError, ConfigProblem, Limits, RateBooks, Seconds

from .config_model import LOCAL_MODEL, Charge, Config, LlmModel
from .config_model import Prices as PriceSettings
from .config_rules import Secret
from .embed_choice import choose_embedder
from .http_pooling import ConnectionPooling
from .http_seam import HttpPool
from .openai_endpoint import OPENAI_URL

if TYPE_CHECKING:
    from .llm_local import LocalModel
    from .llm_openai import OpenAIModel

WARM_UP: Seconds = 10.0
"""How long opening connections before the first call may hold up a troupe."""

LOCAL_SCOPE = "local"
"""The scope of the model in a file of one's own: nobody limits it."""


# ------------------------------------------------------------------ which planner
@attrs.frozen
class PlannerChoice:
    """Which planner is at work, and in one sentence why."""

    mode: PlannerMode
    why: str


def choose_planner(config: Config, *, own_model: bool = False) -> PlannerChoice:
    """`planner.mode` as given; `auto` is a model if there is one, else the rules.

    A model in a file of one's own is taken for a small one: it does not write plans, it fills in a form.

    Raises:
        ConfigError: a model is wanted and none is configured.
    """
    mode, large = config.planner.mode, config.llm.configured or own_model or bool(config.llm.models)
    local = config.local_llm.gguf is not None
    if mode == "rules":
        return PlannerChoice("rules", "planner.mode is rules")
    if mode == "llm" and not (large or local):
        raise _no_model("llm needs a model: set OPENAI_API_KEY or llm.base_url, or write `auto` or `rules`")
    if mode == "local-form" and not (large or local):
        raise _no_model("local-form needs a model: set local_llm.gguf (or llm.base_url), or write `auto` or `rules`")
    what = _which_model(config, own_model=own_model)
    if mode != "auto":
        return PlannerChoice(mode, f"planner.mode is {mode}; {what}")
    if large:
        return PlannerChoice("llm", what)
    if local:
        return PlannerChoice("local-form", what)
    return PlannerChoice("rules", "no model is configured (no OPENAI_API_KEY, no llm.base_url)")


def _which_model(config: Config, *, own_model: bool) -> str:
    if own_model:
        return "a model was handed in"
    if config.llm.configured:
        return f"the model {config.llm.model} is configured"
    if config.llm.models:
        return f"the model {next(iter(config.llm.models))} is configured"
    return f"the model in {config.local_llm.gguf} is configured"


def _no_model(message: str) -> ConfigError:
    return ConfigError([ConfigProblem(path="planner.mode", message=message)])


# ------------------------------------------------------------------ the models
@attrs.frozen(kw_only=True)
class Models:
    """All models of a troupe, what limits them, and the actors that serve them."""

    entries: Mapping[str, ModelEntry]
    roles: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, Limits | None]
    """By scope, where they are not those of `performance.rate_limiting`."""
    children: tuple[ChildSpec, ...] = ()
    mine: tuple[ChatModel, ...] = ()
    """Those that were made here, to be closed."""
    any: bool = True
    """Whether there is a model at all."""
    addressed: tuple[OpenAIModel, ...] = ()
    """Those behind an address."""

    async def warm_up(self, connections: int) -> None:
        """Connect to every server before the first call, within `WARM_UP` seconds in all; one that is away is no error.

        Cancelled: connections that are open stay open.
        """
        with trio.move_on_after(WARM_UP):
            async with trio.open_nursery() as nursery:
                for model in self.addressed:
                    nursery.start_soon(model.warm_up, connections)


def build_models(config: Config, pool: HttpPool, own: ChatModel | None = None) -> Models:
    """Every model that the configuration describes; `own` stands in the place of the one that `llm` describes.

    Raises:
        ConfigError: a role names a model that is not there.
    """
    entries: dict[str, ModelEntry] = {}
    limits: dict[str, Limits | None] = {}
    children: list[ChildSpec] = []
    addressed: list[OpenAIModel] = []
    for name, described in described_models(config).items():
        scope = _scope(described)
        model: ChatModel
        if name == DEFAULT and own is not None:
            model = own
        else:
            model = _model(described, pool)
            addressed.append(model)
        entries[name] = ModelEntry(
            model=model,
            prices=_prices(described),
            scope=scope,
            answers=_answers_of(own) if model is own else "",
            max_tokens=described.max_tokens,
        )
        if scope not in limits or _has_own(described):
            limits[scope] = _limits(config, described)
    if own is not None and DEFAULT not in entries:
        entries[DEFAULT] = ModelEntry(
            model=own,
            prices=_prices_of(config),
            scope=own.name,
            answers=_answers_of(own),
            max_tokens=config.llm.max_tokens,
        )
        limits[own.name] = _limits_of(config)
    if config.local_llm.gguf is not None:
        local = _local(config)
        # Another file is another model: what one of them has answered must not be given for the other from a cache.
        scope = f"{LOCAL_SCOPE}@{(config.local_llm.sha256 or '').lower()[:12]}"
        entries[LOCAL_MODEL] = ModelEntry(model=local, scope=scope, max_tokens=config.llm.max_tokens)
        limits[scope] = None
        children.append(local.child())
    mine = tuple(entry.model for entry in entries.values() if entry.model is not own)
    there_are = bool(entries)
    if not there_are:
        from .llm_none import NoModel

        entries[DEFAULT] = ModelEntry(model=NoModel())
    return Models(
        entries=entries,
        roles=_roles(config, entries),
        limits=limits,
        children=tuple(children),
        mine=mine,
        any=there_are,
        addressed=tuple(addressed),
    )


@attrs.frozen(kw_only=True)
class DescribedModel:
    """One model behind an address, with nothing left out."""

    model: str
    base_url: str
    api_key: Secret | None
    timeout: float
    max_tokens: int | None
    prices: PriceSettings
    charge: Charge
    rpm_limit: int | None
    tpm_limit: int | None
    tokenizer: str | None


def described_models(config: Config) -> dict[str, DescribedModel]:
    """The models by name: that of `llm` if it is configured, and the further ones."""
    llm = config.llm
    found: dict[str, DescribedModel] = {}
    if llm.configured:
        found[DEFAULT] = DescribedModel(
            model=llm.model,
            base_url=llm.base_url or OPENAI_URL,
            api_key=llm.api_key,
            timeout=llm.timeout,
            max_tokens=llm.max_tokens,
            prices=llm.prices,
            charge=llm.charge,
            rpm_limit=llm.rpm_limit,
            tpm_limit=llm.tpm_limit,
            tokenizer=llm.tokenizer,
        )
    for name, one in llm.models.items():
        found[name] = _inheriting(config, name, one)
    return found


def _inheriting(config: Config, name: str, one: LlmModel) -> DescribedModel:
    """A further model. The key of `llm` goes to the address of `llm` and to no other."""
    llm = config.llm
    base_url = one.base_url or llm.base_url or OPENAI_URL
    same_place = base_url == (llm.base_url or OPENAI_URL)
    return DescribedModel(
        model=one.model or name,
        base_url=base_url,
        api_key=one.api_key if one.api_key is not None else llm.api_key if same_place else None,
        timeout=one.timeout if one.timeout is not None else llm.timeout,
        max_tokens=one.max_tokens if one.max_tokens is not None else llm.max_tokens,
        prices=one.prices,
        charge=one.charge or llm.charge,
        rpm_limit=one.rpm_limit,
        tpm_limit=one.tpm_limit,
        tokenizer=one.tokenizer,
    )


def _model(described: DescribedModel, pool: HttpPool) -> OpenAIModel:
    from .llm_openai import OpenAIModel

    return OpenAIModel(
        model=described.model,
        base_url=described.base_url,
        api_key=_revealed(described.api_key),
        pool=pool,
        timeout=described.timeout,
    )


def _answers_of(own: ChatModel) -> str:
    """Under what the answers of a model that was handed in are kept: two of one name may be behind two addresses."""
    kind = type(own)
    return f"{kind.__module__}.{kind.__qualname__} {getattr(own, 'identity', '')}"


def _local(config: Config) -> LocalModel:
    from .llm_local import LocalModel
    from .local_settings import LocalSettings, cache_home, spare_threads

    local = config.local_llm
    assert local.gguf is not None  # noqa: S101 - asked before
    folder = Path(local.cache_dir).expanduser() if local.cache_dir is not None else cache_home()
    settings = LocalSettings(
        gguf=Path(local.gguf).expanduser(),
        sha256=local.sha256,
        threads=local.threads if local.threads is not None else spare_threads(),
        slots=local.slots,
        context=local.context,
        cache_ram_mb=local.cache_ram_mb,
        prefixes=folder / "prefixes",
        idle_stop=local.idle_stop,
        start_timeout=local.start_timeout,
    )
    return LocalModel(settings, timeout=config.llm.timeout, name=LOCAL_MODEL)


def _roles(config: Config, entries: Mapping[str, ModelEntry]) -> Mapping[str, tuple[str, ...]]:
    """Whom each role asks; one that is not named asks `default`, or the first model there is."""
    usual = (DEFAULT,) if DEFAULT in entries else (next(iter(entries)),)
    roles = {role: chain or usual for role, chain in attrs.asdict(config.llm.roles).items()}
    for role, chain in roles.items():
        for name in chain:
            if name not in entries:
                what = "set local_llm.gguf" if name == LOCAL_MODEL else "set OPENAI_API_KEY or llm.base_url"
                message = f"the model {name!r} is not configured: {what}, or take it out"
                raise ConfigError([ConfigProblem(path=f"llm.roles.{role}", message=message)])
    return roles


# ------------------------------------------------------------------ limits and prices
def build_books(config: Config, models: Models) -> RateBooks | None:
    """The rate limits of every scope; None when limiting is off."""
    if not config.performance.rate_limiting.enabled:
        return None
    return RateBooks(_limits_of(config), models.limits)


def _scope(described: DescribedModel) -> str:
    """What the provider counts by itself: a model, under a key, at an address. The key cannot be read from it."""
    return _scope_of(described.model, described.base_url, described.api_key)


def build_estimates(config: Config) -> TokenEstimates:
    """How many tokens a text is, by model: counted where there is a tokenizer for it, else estimated.

    Raises:
        ConfigError: a `tokenizer` cannot be used.
    """
    from .tokens_choice import choose_counter

    counters: dict[str, TokenCounter] = {}
    for name, described in described_models(config).items():
        key = "llm.tokenizer" if name == DEFAULT else f"llm.models.{name}.tokenizer"
        counter = choose_counter(described.model, described.tokenizer, key=key)
        if counter is not None:
            counters[described.model] = counter
    return TokenEstimates(counters)


def _scope_of(model: str, base_url: str, key: Secret | None) -> str:
    place = f"{base_url}\n{_revealed(key) or ''}"
    return f"{model}@{hashlib.blake2b(place.encode(), digest_size=6).hexdigest()}"


def _limits(config: Config, described: DescribedModel) -> Limits:
    usual = _limits_of(config)
    return attrs.evolve(
        usual,
        rpm=described.rpm_limit if described.rpm_limit is not None else usual.rpm,
        tpm=described.tpm_limit if described.tpm_limit is not None else usual.tpm,
        charge=described.charge,
    )


def _has_own(described: DescribedModel) -> bool:
    """Whether a model says more of its limits than another name of the same model may have said."""
    return described.rpm_limit is not None or described.tpm_limit is not None


def _limits_of(config: Config) -> Limits:
    """What holds for a scope that has no limits of its own."""
    rate = config.performance.rate_limiting
    return Limits(
        rpm=rate.rpm_limit,
        tpm=rate.tpm_limit,
        burst=rate.burst_size,
        safety_margin=rate.safety_margin,
        charge=config.llm.charge,
        adaptive_concurrency=rate.adaptive_concurrency,
    )


def _prices_of(config: Config) -> Prices:
    return Prices(**attrs.asdict(config.llm.prices))


def _prices(described: DescribedModel) -> Prices:
    return Prices(**attrs.asdict(described.prices))


# ------------------------------------------------------------------ connections, embeddings
def build_pool(config: Config) -> HttpPool:
    """The connections to the models' servers."""
    pooling = config.performance.connection_pooling
    return HttpPool(
        ConnectionPooling(
            enabled=pooling.enabled,
            max_connections=pooling.max_connections,
            max_keepalive=pooling.max_keepalive,
            keepalive_expiry=pooling.keepalive_expiry,
        ),
        http2=config.llm.http2,
        ca_file=config.llm.ca_file,
    )


def build_embedder(config: Config, pool: HttpPool) -> Embedder:
    """The embedder that the configuration means."""
    provider = choose_embedder(config).provider
    if provider == "wordllama":
        from .embed_wordllama import WordLlamaEmbedder

        return WordLlamaEmbedder()
    if provider == "none":
        from .embed_none import NoEmbedder

        return NoEmbedder()
    if provider == "hash":
        from .embed_hash import HashEmbedder

        return HashEmbedder()
    from .embed_openai import OpenAIEmbedder

    model, base_url, key = _embeddings(config)
    return OpenAIEmbedder(
        model=model,
        base_url=base_url,
        api_key=_revealed(key),
        dimensions=config.embeddings.dimensions,
        pool=pool,
        timeout=config.llm.timeout,
    )


def embedding_scope(config: Config) -> str:
    """What the provider of embeddings counts by itself."""
    return _scope_of(*_embeddings(config))


def _embeddings(config: Config) -> tuple[str, str, Secret | None]:
    """Model, address and key of an endpoint for embeddings. The key of `llm` goes to the address of `llm` only."""
    own, llm = config.embeddings, config.llm
    base_url = own.base_url or llm.base_url or OPENAI_URL
    same_place = base_url == (llm.base_url or OPENAI_URL)
    key = own.api_key if own.api_key is not None else llm.api_key if same_place else None
    return own.model or "text-embedding-3-small", base_url, key


def secrets_of(config: Config) -> tuple[str, ...]:
    """Every key of the configuration, for those who strike them out of what they write down."""
    keys = (config.llm.api_key, config.embeddings.api_key, *(one.api_key for one in config.llm.models.values()))
    return tuple(dict.fromkeys(text for text in map(_revealed, keys) if text))


def _revealed(key: Secret | None) -> str | None:
    return key.reveal() if key is not None else None
