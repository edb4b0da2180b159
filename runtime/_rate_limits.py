"""What a provider allows, and how much of it to use."""

from __future__ import annotations

import math
from typing import Literal

import attrs

from ._errors import BudgetExceeded

Charge = Literal["estimate", "actual", "auto"]


def _at_least_one(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number of at least 1, not {value!r}")


@attrs.frozen(kw_only=True)
class Limits:
    """What a provider allows a minute, and how much of it to use.

    Args:
        rpm: Requests a minute.
        tpm: Tokens a minute, prompt and answer together.
        burst: Most requests admitted at once.
        safety_margin: The share of both limits that is used, above 0 and at most 1.
        charge: What a request costs once its usage is known. `estimate`: never less than was reserved, because
            some providers charge the estimate for good; `actual`: what it used; `auto`: what it used as long as the
            server's headers say what is left, else the estimate.
        adaptive_concurrency: Whether a server that is overloaded gets fewer calls at once.
    """

    rpm: int = attrs.field(validator=_at_least_one)
    tpm: int = attrs.field(validator=_at_least_one)
    burst: int = attrs.field(default=100, validator=_at_least_one)
    safety_margin: float = attrs.field(default=0.9)
    charge: Charge = attrs.field(default="estimate", validator=attrs.validators.in_(("estimate", "actual", "auto")))
    adaptive_concurrency: bool = True

    @safety_margin.validator  # pyright: ignore - mypy's plugin knows that attrs puts a method there
    def _check_margin(self, _: object, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ValueError(f"safety_margin must be a number above 0 and at most 1, not {value!r}")

    @property
    def safe_rpm(self) -> int:
        """Requests that any 60 s may hold: the limit times the margin, at least one."""
        return max(1, math.floor(self.rpm * self.safety_margin))

    @property
    def safe_tpm(self) -> int:
        """Tokens that any 60 s may hold: the limit times the margin, at least one."""
        return max(1, math.floor(self.tpm * self.safety_margin))


def too_large(tokens: int, allowed: int, limits: Limits, said: int | None) -> BudgetExceeded:
    """The error of a request that no minute can hold; `said` is the server's own limit, where it gave one."""
    if said is not None and said < limits.tpm:
        whose = f"({said:,} by the server's own word x safety_margin {limits.safety_margin:g}). "
        remedy = "Shorten it or lower its max_tokens."
    else:
        whose = f"(tpm_limit {limits.tpm:,} x safety_margin {limits.safety_margin:g}). "
        remedy = "Shorten it, lower its max_tokens, or raise performance.rate_limiting.tpm_limit."
    return BudgetExceeded(
        f"a request of about {tokens:,} tokens can never go: the limit is {allowed:,} tokens a minute {whose}{remedy}"
    )
