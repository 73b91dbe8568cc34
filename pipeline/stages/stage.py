"""A stage as a value: its name, what it reads and needs, and the functions that make and load its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pipeline.errors import UndeclaredReadError
from pipeline.request.face_settings import settings_of_face
from pipeline.request.paths import with_paths

if TYPE_CHECKING:
    from pipeline.request.settings import Settings
    from pipeline.stages.facts import Facts
    from pipeline.stages.run import StageRun

T_co = TypeVar("T_co", covariant=True)


def _none(_: Any) -> None:
    return None


def _nothing(_: Any) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Stage(Generic[T_co]):
    """One stage of a plan. Its cache key is made of kind, version, `reads`, `facts` and the keys of `needs`.

    Example:
        Stage("track", version=1, load=load, compute=compute, reads=("track",), needs=("decode",))
    """

    name: str
    """KIND, or KIND/PART where a plan has several of a kind, such as `edit/removal`; see also `face`."""
    version: int
    """Raise it when the same inputs give another result."""
    load: Callable[[StageRun], T_co]
    """The stage's value from its published result; the whole stage where nothing is cached."""
    compute: Callable[[StageRun], None] | None = None
    """Writes arrays and files to `run.writer`. None: nothing is cached, `load` runs in every job."""
    reads: tuple[str, ...] = ()
    """Settings that the result depends on: `track` (all of a group) or `edit.ease`. Others cannot be read."""
    unkeyed: tuple[str, ...] = ()
    """Settings that may be read although the result does not depend on them, as `strict`; `*` for all."""
    needs: tuple[str, ...] = ()
    """Names of the stages whose results are read."""
    facts: Callable[[Facts], Any] = _none
    """What else the result depends on, as JSON values: contents of files, the generator, preset numbers."""
    notes: Callable[[StageRun], Iterable[str]] = _nothing
    """What the user is told of the result, computed or cached, one line each."""
    face: int | None = 0
    """Which of the faces asked for the stage is about, by its place among them; its name ends in @1 for the
    second, and it sees the settings of a request for that face. None: of the whole request."""
    on_device: bool = False
    """Runs on the generator's device; one job at a time does so on each CUDA device."""

    @property
    def kind(self) -> str:
        """The part of the name before the slash."""
        return self.local_name.partition("/")[0]

    @property
    def part(self) -> str:
        """The part of the name after the slash, or an empty text."""
        return self.local_name.partition("/")[2]

    @property
    def local_name(self) -> str:
        """The name without its face."""
        return self.name.removesuffix(f"@{self.face}")

    def in_face(self, place: int) -> Stage[T_co]:
        """The stage for another of the faces asked for; all that it needs but `decode` is of that face."""
        if place == 0:
            return self
        needs = tuple(global_name(name, place) for name in self.needs)
        return replace(self, name=global_name(self.name, place), needs=needs, face=place)


def global_name(name: str, place: int) -> str:
    """The name in a plan of a stage about the face at this place; `decode` is of all faces."""
    return name if place == 0 or name == "decode" else f"{name}@{place}"


def read_values(settings: Settings, reads: Iterable[str]) -> dict[str, Any]:
    """The values of these settings as they enter a cache key, by dotted name.

    The path of a user's file counts for nothing: `Stage.facts` has its content.
    """
    found: dict[str, Any] = {}
    plain = with_paths(settings, lambda path: Path("-"))
    for name in reads:
        value: Any = plain
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return found


def only(settings: Settings, stage: Stage[Any]) -> Settings:
    """The settings as a stage sees them: reading one that it does not declare raises UndeclaredReadError."""
    own = settings if stage.face is None else settings_of_face(settings, stage.face)
    if "*" in stage.unkeyed:
        return own
    return cast("Settings", _Declared(own, frozenset(stage.reads + stage.unkeyed), "", stage.name))


class _Declared:
    """A dataclass of settings of which only some fields may be read."""

    def __init__(self, values: Any, allowed: frozenset[str], prefix: str, stage: str) -> None:
        self._values, self._allowed, self._prefix, self._stage = values, allowed, prefix, stage

    def __getattr__(self, name: str) -> Any:
        value, path = getattr(self._values, name), f"{self._prefix}{name}"
        if path in self._allowed:
            return value
        if not self._prefix and is_dataclass(value):
            return _Declared(value, self._allowed, f"{path}.", self._stage)
        raise UndeclaredReadError(f"stage {self._stage} reads the setting {path} without declaring it")
