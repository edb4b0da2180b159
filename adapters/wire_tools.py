"""Native tool calls in the OpenAI protocol: what is offered, and what a model asks for. Pure: no I/O.

What a model asks for is checked as far as the protocol goes: the call has a name, the name was offered, its arguments
are text. Whether they are JSON, and what the tool takes, is for whoever knows the tool. A server that leaves out the
call's id, which only joins the result to it, gets one made up from its place.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from trouper.actors.protocols import ToolCall, ToolSpec

from .wire_errors import Asked, bad_response, whole_text

MAX_CALLS = 128
"""Calls in one answer; more are a model that runs in circles."""

_WORDS = frozenset({"auto", "none", "required"})


def offered(tools: Sequence[ToolSpec]) -> list[dict[str, object]]:
    """The tools of a request."""
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def _function(tool: ToolSpec) -> dict[str, object]:
    told: dict[str, object] = {"name": tool.name}
    if tool.description:
        told["description"] = tool.description
    told["parameters"] = dict(tool.schema) or {"type": "object", "properties": {}}
    return told


def tool_choice(choice: str) -> object:
    """`auto`, `none` and `required` as they are; any other word is the name of a tool."""
    return choice if choice in _WORDS else {"type": "function", "function": {"name": choice}}


def asked_call(call: ToolCall) -> dict[str, object]:
    """A call as the assistant's message repeats it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def calls_of(asked: Asked, told: object, names: Collection[str]) -> tuple[ToolCall, ...]:
    """The calls of a plain, unstreamed message; `names` are those that were offered.

    Raises:
        BadResponse: one of them is no call, or of a tool that was not offered.
    """
    if told is None:
        return ()
    if not isinstance(told, list):
        raise bad_response(asked, "its `tool_calls` are no list", _shown(told))
    pieces = CallPieces(asked)
    for i, entry in enumerate(told):
        pieces.feed_whole(i, entry)
    return pieces.finish(names)


class CallPieces:
    """Puts the calls of an answer together, out of pieces where it is streamed."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._calls: list[_Call] = []
        self._by_place: dict[int, _Call] = {}

    @property
    def any(self) -> bool:
        """Whether there is a call, finished or not."""
        return bool(self._calls)

    def feed(self, told: object) -> int:
        """Take the `tool_calls` of one delta; gives how many characters it brought.

        Raises:
            BadResponse: it is no list of pieces of calls.
        """
        if told is None:
            return 0
        if not isinstance(told, list):
            raise bad_response(self._asked, "the `tool_calls` of its stream are no list", _shown(told))
        return sum(self._piece(entry) for entry in told)

    def feed_whole(self, place: int, entry: object) -> None:
        """Take one call that is whole."""
        self._piece(entry, place)

    def _piece(self, entry: object, place: int | None = None) -> int:
        function = entry.get("function") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or not isinstance(function, Mapping):
            raise bad_response(self._asked, "one of its `tool_calls` is no call of a function", _shown(entry))
        kind = entry.get("type")
        if kind is not None and kind != "function":
            raise bad_response(self._asked, f"it asks for a {kind!r:.100}, not for a function", _shown(entry))
        identity, name = self._text(entry, "id", entry), self._text(function, "name", entry)
        arguments = function.get("arguments")
        if isinstance(arguments, Mapping):
            arguments = json.dumps(arguments)  # not the protocol, but its meaning is plain
        if arguments is not None and not isinstance(arguments, str):
            raise bad_response(self._asked, "the arguments of a call are no text", _shown(entry))
        self._call(entry.get("index") if place is None else place, identity, entry).take(identity, name, arguments)
        return len(name) + len(arguments or "")

    def _text(self, where: Mapping[str, object], key: str, entry: object) -> str:
        value = where.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise bad_response(self._asked, f"the {key} of a call is no text", _shown(entry))
        return value

    def _call(self, place: object, identity: str, entry: object) -> _Call:
        """The call that a piece belongs to: by its place, and a new one where another id begins at that place."""
        if place is None:
            place = len(self._calls) - (0 if identity or not self._calls else 1)
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < MAX_CALLS:
            raise bad_response(self._asked, f"it has a tool call at the place {place!r}", _shown(entry))
        call = self._by_place.get(place)
        if call is None or (identity and call.id and identity != call.id):
            if len(self._calls) >= MAX_CALLS:
                raise bad_response(self._asked, f"it has more than {MAX_CALLS} tool calls", _shown(entry))
            call = self._by_place[place] = _Call()
            self._calls.append(call)
        return call

    def finish(self, names: Collection[str]) -> tuple[ToolCall, ...]:
        """The calls, once the answer is whole.

        Raises:
            BadResponse: one has no name, or the name of a tool that was not offered, or two have the same id.
        """
        calls: list[ToolCall] = []
        for i, call in enumerate(self._calls):
            if not call.name:
                raise bad_response(self._asked, f"tool call {i} has no name", call.shown)
            if call.name not in names:
                what = "no tool was offered" if not names else "offered were " + ", ".join(sorted(names))
                raise bad_response(self._asked, f"it asks for the tool {call.name!r}, but {what}", call.shown)
            identity, arguments = whole_text(self._asked, call.id), whole_text(self._asked, call.arguments)
            calls.append(ToolCall(id=identity or self._made_up(i), name=call.name, arguments=arguments or "{}"))
        if len({call.id for call in calls}) < len(calls):
            raise bad_response(self._asked, "two of its tool calls have the same id", _shown([c.id for c in calls]))
        return tuple(calls)

    def _made_up(self, place: int) -> str:
        """An id for the call at that place, which no other call has."""
        identity = f"call_{place}"
        while any(call.id == identity for call in self._calls):
            identity = f"{identity}_"
        return identity


class _Call:
    """One call, as far as it has come."""

    __slots__ = ("_arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self._arguments: list[str] = []

    def take(self, identity: str, name: str, arguments: str | None) -> None:
        self.id = self.id or identity
        if name != self.name:  # most servers send it once, some with every piece, some in pieces of its own
            self.name += name
        if arguments:
            self._arguments.append(arguments)

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)

    @property
    def shown(self) -> str:
        return f"{self.name}({self.arguments})"


def _shown(value: object) -> str:
    return json.dumps(value, default=str)
