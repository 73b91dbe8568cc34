"""Paths of the user in a request: which settings name a file or folder, in one list.

Made absolute before a request is handed on, hashed into keys, and kept within a folder for `clip.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.request.fields import Field, assembled, fields_of, value_at

T = TypeVar("T")


@dataclass(frozen=True)
class NamedPath:
    """A path that a setting names. folder: with all it holds."""

    option: str
    path: Path
    folder: bool


def user_paths(settings: Any) -> list[NamedPath]:
    """The files and folders of the user that settings name, all or one group, in the order of the fields."""
    found = []
    for field in path_fields(settings):
        for value in _values(field, value_at(settings, field.at)):
            inner = _rule(field).within(str(value))
            if inner is not None:
                found.append(NamedPath(f"--{field.name}", Path(inner), _rule(field).folder))
    return found


def with_paths(settings: T, change: Callable[[Path], Path]) -> T:
    """The settings, or the request, with every path of the user replaced by `change` of it."""
    changes: dict[tuple[str, ...], Any] = {}
    for field in path_fields(settings):
        old = value_at(settings, field.at)
        new = [_changed(field, value, change) for value in _values(field, old)]
        if new:
            changes[field.at] = tuple(new) if field.many else new[0]
    return assembled(settings, changes)


def path_fields(settings: Any) -> list[Field]:
    """The fields of settings whose values can name a path."""
    return [field for field in fields_of(type(settings)) if field.mark.path is not None]


def lies_within(path: Path, folders: Collection[Path], with_contents: bool = False) -> bool:
    """Whether a path leads into one of these resolved folders, links followed.

    with_contents: so do all files of the folder that it names. Raises OSError, ValueError or RuntimeError for
    a path that cannot be followed, such as one with a NUL character, or links in a circle.
    """
    target = path.resolve()
    reached = [target, *(target.iterdir() if with_contents and target.is_dir() else ())]
    return all(any(one.resolve().is_relative_to(folder) for folder in folders) for one in reached)


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for a name that the system does not take."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; False for a name that the system does not take."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _rule(field: Field) -> Any:
    return field.mark.path


def _values(field: Field, value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if field.many else (value,)


def _changed(field: Field, value: Any, change: Callable[[Path], Path]) -> Any:
    inner = _rule(field).within(str(value))
    if inner is None:
        return value
    path = change(Path(inner))
    return path if isinstance(value, Path) else _rule(field).around(path)
