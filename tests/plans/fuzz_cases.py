"""Random plans for the fuzz run: spoilt samples, steps with every policy, any JSON, any text, broken unicode.

A case follows from the seed and its number alone, so that one of a million can be made again by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

SAMPLES: Final = Path(__file__).parents[1] / "data" / "plans"
_LARGE: Final = 4000
ACTIONS: Final = ("search", "read", "write", "sum", "plan", " ", "seárch", "")
NAMES: Final = ("x", "q", "a", "value", "items", "é", "", "a-b", "steps", "action", "id", "0")
TEXTS: Final = (
    *("", "x", "$step1", "$step2.a", "{$step1.a[0].b}", "see $step0.", "$$step1", "$step1.x[2].y and {$step3}"),
    *("$item", "$item.a", "{$item[0]}", "$index", "$$item", "$step_1", "$step99999999999999999999999", "$step1.é"),
    *("\x00", "\u2028", "\U0001f600", "a" * 300, "$step1[0][1].2.x", "{$step1", "{{$step1}}", "step_1", "1", "$step01"),
    *("null", "$step"),
)
CONDITIONS: Final = (
    *("$step1", "not $step1.a", "$step1.a == 1", "$step1.n < 3 and exists($step2.x)", "len($step1) >= 2"),
    *("$step1 in [1, 'a', null]", "('a' == \"a\") or false", "$index < 5", "if it rained", "1 ==", "((((1))))"),
    *("len(", "not " * 50 + "true", "(" * 600 + "1" + ")" * 600, "1 < 'a'", "$step1.a.b != -2.5e3", "exists(1)"),
    *("empty($item)", "$step1 not in $step2", "== ==", "True"),
)
FRAGMENTS: Final = (
    *('{"steps": [', '{"id": 1, "action": "a"}', '[{"id": 0, "tool": "b", "deps": [1]}', "]", "}", ",", ":", '"', "'"),
    *("\n", "```json\n", "```", "Here is the plan: ", "[see below]", "{x}", "{steps: [", "[1 or 2]", "NaN", "1e999"),
    *("\\u0000", "\\ud83d", "\\ud83d\\ude00", "\ufeff", "\xa0", "\x01", '"steps"', '"action": ', "true", "null", "{}"),
    *('{"\\u0073teps": [', "// no", "/* no */", "[]", '{"steps": []}', "\\", "-0", "[[[["),
    '{"goal": "x", "steps": [{"id": 1, "action": "a"}]}',
)
NUMBERS: Final = (0, 1, 2, 3, 7, -1, 0.5, -0.0, 1e300, 2**63 - 1, 2**63, 10**400, True, False)


def samples() -> list[str]:
    """The sample plans as text, without the largest."""
    files = [*SAMPLES.glob("*.json"), *(SAMPLES / "raw").glob("*.txt")]
    texts = (file.read_text("utf-8") for file in sorted(files) if not file.name.endswith(".expect.json"))
    return [text for text in texts if len(text) < _LARGE]


class Cases:
    """A stream of cases; `case(n)` is always the same."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(0)
        self._care = 1.0
        """How likely each part of a step is meant to be right."""
        self._samples = samples()
        self._kinds: Mapping[str, Callable[[], object]] = {
            "sample": self._sample,
            "steps": self._steps,
            "step text": self._step_text,
            "json": self._value,
            "text": self._text,
            "bytes": self._bytes,
        }

    def case(self, number: int) -> tuple[str, object]:
        """The kind of a case and what is to be parsed."""
        self.random.seed(f"{self.seed}:{number}")
        kind = self.random.choice(list(self._kinds))
        return kind, self._kinds[kind]()

    def cut(self, text: str) -> list[str]:
        """The text of the last case in pieces, as a planner might send it."""
        if self.random.random() < 0.2:
            return list(text)
        ends = sorted(self.random.randrange(len(text) + 1) for _ in range(self._one([0, 1, 3, 20])))
        return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]

    def any_value(self, depth: int = 0) -> object:
        """Any JSON value, often with references in it."""
        roll = self.random.random()
        if depth > 4 or roll < 0.5:
            return self.random.choice([self._one(TEXTS), self._one(NUMBERS), None])
        size = self.random.choice([0, 1, 1, 2, 3])
        if roll < 0.7:
            return [self.any_value(depth + 1) for _ in range(size)]
        if roll < 0.72:
            return self._nested(self.random.choice([10, 100, 511, 600]))
        return {self._one(NAMES): self.any_value(depth + 1) for _ in range(size)}

    # -------------------------------------------------------------- the kinds

    def _sample(self) -> str:
        return self._spoilt(self._one(self._samples))

    def _text(self) -> str:
        pieces = [self._one(FRAGMENTS) for _ in range(self.random.randrange(12))]
        if self.random.random() < 0.3:
            pieces.append(self._one(self._samples))
        if self.random.random() < 0.05:
            pieces = [self._one(FRAGMENTS) + self._one(FRAGMENTS)] * self.random.randrange(500)
        return "".join(pieces)

    def _bytes(self) -> bytes:
        raw = bytearray(self._spoilt(self._one(self._samples)).encode("utf-8", "surrogatepass"))
        for _ in range(self.random.randrange(4)):
            if raw:
                raw[self.random.randrange(len(raw))] = self.random.randrange(256)
        return bytes(raw)

    def _value(self) -> object:
        value = self.any_value()
        return {"steps": value, "goal": self.any_value(3)} if self.random.random() < 0.3 else value

    def _step_text(self) -> str:
        return self._spoilt(json.dumps(self._steps(), ensure_ascii=self.random.random() < 0.5))

    def _steps(self) -> object:
        self._care = self.random.choice([0.7, 0.97, 1.0])
        ids = list(range(1, self.random.choice([2, 3, 4, 8, 30])))
        if self.random.random() < 0.2:
            self.random.shuffle(ids)
        steps: list[object] = [self._step(step, ids, 0) for step in ids]
        if self.random.random() > self._care:
            steps.insert(0, self.any_value())
        return self._one([steps, {"steps": steps}, {"steps": steps, "goal": "g", "budget": {"steps": 9}}])

    # -------------------------------------------------------------- steps

    def _step(self, step: int, ids: Sequence[int], depth: int) -> dict[str, object]:
        """One step, mostly right, in one of the ways there are to write it."""
        earlier = [other for other in ids if other < step]
        right = self.random.random() < self._care
        entry: dict[str, object] = {self._one(["id", "id", "id", "step"]): step if right else self._odd_id(step)}
        if depth < 3 and self.random.random() < 0.1:
            inside = [100 * step + n for n in range(self.random.randint(1, 3))]
            inner: object = [self._step(one, [*earlier, *inside], depth + 1) for one in inside]
            entry |= self._one([{}, {}, {"budget": {"tokens": 5, "cost": 0.1}}])
            entry["plan"] = inner if self.random.random() < 0.5 else {"steps": inner, "output": self._input(inside)}
        else:
            entry[self._one(["action", "action", "tool"])] = self._one(ACTIONS[:4] if right else ACTIONS)
            values = {self._one(NAMES[:5]): self._input(earlier) for _ in range(self.random.randrange(3))}
            entry[self._one(["parameters", "inputs", "args"])] = values if right else self.any_value()
        if self.random.random() < 0.3:
            needs = self.random.sample(earlier, min(len(earlier), self.random.randrange(3)))
            entry[self._one(["dependencies", "deps", "depends_on"])] = needs if right else self.any_value()
        for name in self.random.sample(list(self._policies), self.random.choice([0, 0, 0, 1, 2, 5])):
            entry[name] = self._policies[name](self, earlier) if self.random.random() < self._care else self.any_value()
        return entry

    def _odd_id(self, step: int) -> object:
        return self._one([str(step), f"step_{step}", f"step{step}", 1, self.any_value()])

    def _input(self, earlier: Sequence[int]) -> object:
        if not earlier or self.random.random() < 0.3:
            return self.any_value(2)
        reference = f"$step{self.random.choice(earlier)}{self._one(['', '.a', '.a.b', '[0]', '.items[1].x', '.é'])}"
        return self._one([reference, f"{{{reference}}}", f"about {reference}.", [reference], {"of": reference}])

    def _call(self, earlier: Sequence[int]) -> object:
        return {"action": self._one(ACTIONS), "parameters": {"x": self._input(earlier)}}

    def _each(self, earlier: Sequence[int]) -> object:
        items = self._one([[1, "$item", {}], [], f"$step{self._one([*earlier, 1])}.items", "$item.x", "$step1 x"])
        limits = {"max_parallel": 2, "on_failure": "continue", "max_items": 3}
        return self._one([items, {"items": items}, {"items": items, **limits}])

    def _condition(self, earlier: Sequence[int]) -> object:
        known = f"$step{self._one([*earlier, 1])}"
        return self._one([True, False, f"{known}.a > 2", f"exists({known})", f"{known} == 'x'", self._one(CONDITIONS)])

    _policies: Final[Mapping[str, Callable[[Cases, Sequence[int]], object]]] = {
        "critical": lambda self, _: self._one([True, False]),
        "timeout_s": lambda self, _: self._one([1, 0.5, 30]),
        "max_retries": lambda self, _: self._one([0, 1, 5]),
        "retry_backoff_s": lambda self, _: self._one([0, 0.1]),
        "fallback": _call,
        "compensate": _call,
        "condition": _condition,
        "for_each": _each,
        "join": lambda self, _: self._one(["all", "any", "any", 1, 2]),
        "approval": lambda self, _: self._one([True, "Really, $step1?", "ok?"]),
        "idempotency_key": lambda self, _: self._one(["k-$step1.a", "k-$item", "k"]),
        "reasoning": lambda self, _: "because",
        "expected_output": lambda self, _: self.any_value(3),
        "note": lambda self, _: self.any_value(3),
    }

    # -------------------------------------------------------------- pieces

    def _one(self, choices: Sequence[T]) -> T:
        return self.random.choice(choices)

    def _nested(self, depth: int) -> object:
        value: object = self._one(TEXTS)
        for n in range(depth):
            value = [value] if n % 2 else {"x": value}
        return value

    def _spoilt(self, text: str) -> str:
        """The text with up to four places changed: cut out, filled in, doubled, or a character exchanged."""
        for _ in range(self._one([0, 1, 1, 2, 4])):
            at = self.random.randint(0, len(text))
            size = self._one([0, 1, 1, 3, 30])
            other = self.random.randint(0, len(text))
            fill = self._one(
                ["", self._one(FRAGMENTS), self._one(TEXTS), self._one('{}[]",:1a'), text[other : other + 40]]
            )
            text = text[:at] + fill + text[at + size :]
        return text
