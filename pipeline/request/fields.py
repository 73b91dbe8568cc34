"""Fields of settings: one type, one default and one docstring each, and how a field appears as an option.

A dataclass, or the signature of a command, is read into a list of `Field`. Command line, help, `clip.yaml`,
`--settings FILE`, Prefect parameters, checks and the list of user paths are all made from that list.

    reader: Annotated[str, Option(choices=("av", "decord"), kind="reader")] = "av"
    '''Library that decodes the video.'''
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache, reduce
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pipeline.errors import UnknownNameError, UserError, shortened

REQUIRED: Any = inspect.Parameter.empty
"""The default of a field that must be given."""
MOST_SEED = 2**32 - 1
"""Largest seed that every random generator takes."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,300}")
T = TypeVar("T")


@dataclass(frozen=True)
class UserPath:
    """Marks a field whose value names a file or folder of the user.

    folder: a folder with all it holds, not one file. prefix: only a value that begins with it names a path,
    which is the rest (`3ddfa:PATH`). words: values that are no paths (`bundled`). url: a value with `://` is
    no path.
    """

    folder: bool = False
    prefix: str = ""
    words: tuple[str, ...] = ()
    url: bool = False

    def within(self, value: str) -> str | None:
        """The path in a value of the field, or None where it names none."""
        if value in self.words or (self.url and "://" in value) or not value.startswith(self.prefix):
            return None
        return value.removeprefix(self.prefix)

    def around(self, path: Path | str) -> str:
        """The value that names this path."""
        return f"{self.prefix}{path}"


@dataclass(frozen=True)
class Option:
    """How a field appears as an option; stands in the field's `Annotated`.

    name: of the option, without dashes; the field's own name where empty. metavar: the value in the help
    text. group: heading in the help text; of a nested dataclass, that of all its fields. choices: the values
    there are, or a function that returns them; `kind` is the noun for them in an error message. least, most:
    bounds of a number, inclusive. bare: the value of an option that stands without one (`--stitch`).
    default: what the help text says of a default that depends on something else. path: the value names a
    file or folder of the user. read, write: text to value and back; `read` raises UserError. A dataclass with
    `read` is one value, not a group of fields.
    """

    name: str = ""
    metavar: str = ""
    group: str = ""
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    kind: str = ""
    least: float | None = None
    most: float | None = None
    bare: str | None = None
    default: str = ""
    path: UserPath | None = None
    read: Callable[[str], Any] | None = None
    write: Callable[[Any], str] | None = None


@dataclass(frozen=True)
class Expand:
    """Marks a parameter of a command that takes what was given of other fields, as a dict by their keys."""

    fields: Callable[[], Iterable[Field]]


@dataclass(frozen=True)
class Field:
    """One field.

    at: the way to it from the outermost object. type: of one value. many: a tuple of such values, given by
    repeating the option. words: how many words of the command line make one value. doc: the class or function
    with its docstring, and its name there.
    """

    name: str
    at: tuple[str, ...]
    type: Any
    default: Any
    mark: Option
    doc: tuple[Any, str]
    many: bool = False
    words: int = 1
    positional: bool = False
    variadic: bool = False

    @property
    def key(self) -> str:
        """The name as in a settings file, with underscores."""
        return self.name.replace("-", "_")

    @property
    def shown(self) -> str:
        """The field in an error message."""
        return self.name.upper() if self.positional else f"--{self.name}"

    @property
    def help(self) -> str:
        """The field's docstring, in one line."""
        owner, name = self.doc
        return _docstrings(owner).get(name, "")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values there are; empty where any will do."""
        found = self.mark.choices
        return tuple(found() if callable(found) else found)

    def read(self, text: str) -> Any:
        """One value from text. Raises UserError."""
        if self.mark.read is not None:
            return self.mark.read(text)
        if self.type is int:
            return whole(text, self.shown)
        if self.type is float:
            return number(text, self.shown)
        return Path(text) if self.type is Path else text

    def write(self, value: Any) -> Any:
        """The whole value in JSON's types; `read` takes each text back."""
        return [self._write(one) for one in value] if self.many else self._write(value)

    def _write(self, value: Any) -> Any:
        if self.mark.write is not None:
            return self.mark.write(value)
        return str(value) if isinstance(value, Path) else value

    def check(self, value: Any) -> None:
        """Raise UserError for a value out of bounds, UnknownNameError for one that is no choice."""
        mark = self.mark
        if value is None:
            return
        if (choices := self.choices) and value not in choices:
            known = ", ".join(choices)
            raise UnknownNameError(f"unknown {mark.kind} '{shortened(value)}'; known: {known}")
        if mark.least is not None and not value >= mark.least:
            raise UserError(f"{self.shown} must be {mark.least:.10g} or more, not {value:.10g}")
        if mark.most is not None and not value <= mark.most:
            raise UserError(f"{self.shown} must be {mark.most:.10g} or less, not {value:.10g}")


def fields_of(owner: Any, at: tuple[str, ...] = (), group: str = "") -> tuple[Field, ...]:
    """The fields of a dataclass, with those of dataclasses inside it; or the parameters of a function.

    Positional-only parameters are positional on the command line, all others are options.
    """
    found: list[Field] = []
    members = _members(owner)
    for name, default, kind, hint in members:
        type_, many, marks = _unfolded(hint)
        expand = next((mark for mark in marks if isinstance(mark, Expand)), None)
        if expand is not None:
            taken = {other for other, *_ in members}
            found += [replace(f, at=(name, f.key)) for f in expand.fields() if f.key not in taken]
            continue
        mark = next((mark for mark in marks if isinstance(mark, Option)), Option())
        mark = replace(mark, group=mark.group or group)
        if is_dataclass(type_) and mark.read is None:
            found += fields_of(type_, (*at, name), mark.group)
            continue
        words = len(get_args(type_)) if get_origin(type_) is tuple else 1
        variadic = kind is inspect.Parameter.VAR_POSITIONAL
        found.append(
            Field(
                name=mark.name or name.replace("_", "-"),
                at=(*at, name),
                type=get_args(type_)[0] if words > 1 else type_,
                default=default,
                mark=mark,
                doc=(owner, name),
                many=many or variadic,
                words=words,
                positional=variadic or kind is inspect.Parameter.POSITIONAL_ONLY,
                variadic=variadic,
            )
        )
    return tuple(found)


def value_at(base: Any, at: Iterable[str]) -> Any:
    """The value of a field, by the way to it."""
    return reduce(getattr, at, base)


def assembled(base: T, given: Mapping[tuple[str, ...], Any]) -> T:
    """A frozen dataclass with these fields replaced, each named by the way to it."""
    changes: dict[str, Any] = {}
    nested: dict[str, dict[tuple[str, ...], Any]] = {}
    for at, value in given.items():
        if len(at) == 1:
            changes[at[0]] = value
        else:
            nested.setdefault(at[0], {})[at[1:]] = value
    changes |= {name: assembled(getattr(base, name), part) for name, part in nested.items()}
    return replace(base, **changes)  # type: ignore[type-var]


def whole(text: str, where: str) -> int:
    """A whole number in ASCII digits. Raises UserError, which begins with `where`."""
    if not _WHOLE.fullmatch(text.strip()):
        raise UserError(f"{where}: '{shortened(text)}' is not a whole number")
    return int(text)


def number(text: str, where: str) -> float:
    """A finite number in ASCII characters. Raises UserError, which begins with `where`."""
    try:
        value = float("" if "_" in text or not text.isascii() else text)
    except ValueError:
        raise UserError(f"{where}: '{shortened(text)}' is not a number") from None
    if not math.isfinite(value):
        raise UserError(f"{where}: '{shortened(text)}' is not a finite number")
    return value


def _members(owner: Any) -> list[tuple[str, Any, Any, Any]]:
    """(name, default, kind of parameter, hint) of each field or parameter."""
    hints = get_type_hints(owner, include_extras=True)
    if not is_dataclass(owner):
        parameters = inspect.signature(owner).parameters.values()
        return [(p.name, p.default, p.kind, hints[p.name]) for p in parameters]
    found = []
    for field in fields(owner):
        default = REQUIRED if field.default is MISSING else field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        found.append((field.name, default, inspect.Parameter.KEYWORD_ONLY, hints[field.name]))
    return found


def _unfolded(hint: Any) -> tuple[Any, bool, tuple[Any, ...]]:
    """`Annotated[tuple[X, ...] | None, marks]` as X, whether it was a tuple, and the marks."""
    marks: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        marks = tuple(rest)
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not types.NoneType)
    if get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis:
        return get_args(hint)[0], True, marks
    return hint, False, marks


@cache
def _docstrings(owner: Any) -> dict[str, str]:
    """Docstrings of a class's fields, or the `Args:` of a function's, each in one line without marks."""
    import docstring_parser

    if inspect.isclass(owner):
        found = docstring_parser.parse_from_object(owner)
    else:
        found = docstring_parser.parse(inspect.getdoc(owner) or "")
    return {one.arg_name: " ".join((one.description or "").replace("`", "").split()) for one in found.params}
