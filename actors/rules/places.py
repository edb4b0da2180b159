"""Where to search: folders, files, kinds of files, the whole project."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .match import Frame
from .meaning import Place
from .spans import path_kind

HERE = (Place(),)


def place_at(path: str) -> Place:
    """The place that a path or glob names; `src/*.py` is the glob `*.py` below `src`."""
    if "*" in path:
        folder, _, glob = path.rpartition("/")
        parts = folder.split("/") if folder else []
        stars = next((i for i, part in enumerate(parts) if "*" in part), len(parts))
        glob = "/".join([*parts[stars:], glob])
        return Place(path="/".join(parts[:stars]) or ".", glob=glob if folder else f"**/{glob}")
    return Place(path=path.rstrip("/") or "/")


def _named(name: str) -> tuple[Place, ...] | None:
    """The folder that the goal calls a folder."""
    return (place_at(name),) if "*" not in name else None


def _pure_glob(path: str) -> str | None:
    """`*.py` as the glob for files of that name anywhere."""
    return f"**/{path}" if "*" in path and "/" not in path else None


def globbed(kind: str, place: Sequence[Place] = HERE) -> tuple[Place, ...] | None:
    """Files of one kind, in these places."""
    if any(found.glob != "**/*" or path_kind(found.path) == "file" for found in place):
        return None
    return tuple(attrs.evolve(found, glob=kind) for found in place)


def _join(place: Sequence[Place], places: Sequence[Place]) -> tuple[Place, ...] | None:
    return (*place, *places) if len(place) + len(places) <= 6 else None


PLACE_FRAMES: dict[str, tuple[Frame, ...]] = {
    "place": (
        ("[the] {path:folder} [folder|directory|dir|tree]", lambda path: (place_at(path),)),
        ("[the|my|our|this] [file|log|document] {path} [file]", lambda path: (place_at(path),)),
        (
            "[the|my|our|this|that] [whole|entire] {name:folder_name} @folder",
            _named,
        ),
        ("[the|my|our] [whole|entire] @folder [called|named] {name:folder_name}", _named),
        ("[the|my|our] [whole|entire] {name:known_folder}", lambda name: (place_at(name),)),
        ("@here", lambda: HERE),
        ("{kind:globbed} (@in / that are in|under) {place}", globbed),
        ("{kind:globbed} [here]", globbed),
        ("@all_files [here]", lambda: HERE),
        ("@all_files (@in / that are in|under) {place}", lambda place: place),
    ),
    "path_place": (
        ("{path:folder}", lambda path: (place_at(path),)),
        ("{path}", lambda path: (place_at(path),)),
    ),
    "globbed": (
        ("[all|every|each|any] [of] [the|my|our|these] {kind:language} @files", lambda kind: kind),
        ("[all|every|each|any] [of] [the|my|our] {path:folder} [files]", _pure_glob),
    ),
    "places": (
        ("[both] {place}", lambda place: place),
        ("[both] {place} @and_in {places}", _join),
    ),
    "where": (
        ("@in {places}", lambda places: places),
        ("anywhere|somewhere|everywhere @in {places}", lambda places: places),
        ("anywhere|everywhere", lambda: HERE),
        ("under|below|beneath|inside|within {name:bare_folder}", lambda name: (Place(path=name, bare=True),)),
    ),
    "folders": (
        ("[the] {path:folder} [folder|directory]", lambda path: (place_at(path),)),
        ("[the|my|our|this] {name:folder_name} @folder", _named),
        ("[the|my|our] @folder {name:folder_name}", _named),
        ("[the|our|my] {name:known_folder}", lambda name: (place_at(name),)),
    ),
    "globbed_plain": (("{kind:language} files|scripts|modules|documents", lambda kind: kind),),
    "file_set": (
        ("{kind:globbed} {place:where}", globbed),
        ("{kind:globbed}", globbed),
        ("[all|every] [of] [the|my|our] file|files {places:where}", lambda places: places),
    ),
}
