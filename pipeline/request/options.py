"""A request from the words of a command line, from a settings file or from a mapping, and back.

parse(["clip.mp4", "--edit", "smile=1.5"])
from_mapping({"edit": ["smile=1.5"]}, "clip.yaml", base=Request(Path("clip.mp4")))
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pipeline.errors import UserError, shortened
from pipeline.request.command_line import HelpShown, call
from pipeline.request.fields import Expand, Field, Option, assembled, fields_of, value_at
from pipeline.request.settings import HEADINGS, Request

_MOST_VALUES = 1000
"""Values in one list of a mapping."""
_MOST_CHARACTERS = 4096
"""Characters of one value, which is the longest path that Linux takes."""
_MOST_BITS = 900
"""Bits of a whole number, more than any option takes."""
_FILE = Option(metavar="FILE", group=HEADINGS[-1])


@dataclass(frozen=True)
class _Files:
    """Options that are no part of a request."""

    settings: Annotated[Path | None, _FILE] = None
    """Take options from this YAML or JSON file; those of the command line count more."""
    print_settings: Annotated[bool, _FILE] = False
    """Print all options that differ from the defaults as such a file, and do nothing."""


@cache
def request_fields() -> tuple[Field, ...]:
    """Fields of a request that are options, in the order of the help text; each has its own name."""
    own = {("video",), ("preset_chosen",)}
    found = [field for field in fields_of(Request) if field.at not in own]
    return tuple(sorted(found, key=lambda field: HEADINGS.index(field.mark.group)))


def process_fields() -> tuple[Field, ...]:
    """The options of `process-video`."""
    return (*request_fields(), *fields_of(_Files))


Given = Annotated[dict[str, Any], Expand(process_fields)]
"""What was given of `process_fields`: values by key."""


def parse(words: Sequence[str], files: bool = True) -> Request:
    """The request that a command line asks for.

    files: take `--settings` and `--print-settings`; without them no file is read.
    Raises UserError, and HelpShown where the words ask for help or `--print-settings`.
    """
    request: Request = call(_request if files else _request_alone, words, "process-video")
    return request


def _request(video: Path, /, *, given: Given) -> Request:
    """Options of process-video."""
    return request_of(video, given)


def _request_alone(video: Path, /, *, given: Annotated[dict[str, Any], Expand(request_fields)]) -> Request:
    """Options of process-video."""
    return request_of(video, given)


def request_of(video: Path, given: Mapping[str, Any]) -> Request:
    """The request for a clip from values by key, those of the `settings` file below them.

    Raises UserError, and HelpShown for `print_settings`.
    """
    values = dict(given)
    file, printed = values.pop("settings", None), values.pop("print_settings", False)
    base = Request(video)
    if file is not None:
        from pipeline.request.settings_file import read_settings

        base = from_mapping(read_settings(file), str(file), base)
    request = _with(base, values)
    if printed:
        from pipeline.request.settings_file import settings_text

        print(settings_text(to_mapping(request)), end="")
        raise HelpShown
    return request


def from_mapping(values: Mapping[str, Any], where: str, base: Request) -> Request:
    """`base` with options from a mapping: names with `_` or `-`, values as JSON has them.

    A list replaces that of `base`. `true` stands for an option without a value.

    Args:
        values: option by name.
        where: names the mapping in an error message.
        base: the request that they are laid over.

    Raises:
        UserError: an unknown option, with the nearest known one; one given twice; a value it cannot take.
    """
    known = {field.key: field for field in request_fields()}
    found: dict[str, Any] = {}
    try:
        for name, value in values.items():
            key = known_key(name, known)
            if key in found:
                raise UserError(f"'{key}' is given twice")
            found[key] = _value(known[key], value)
        return _with(base, found)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def to_mapping(request: Request) -> dict[str, Any]:
    """The options of a request that differ from the defaults, in JSON's types; `from_mapping` reads them."""
    default = Request(request.video)
    found = {}
    for field in request_fields():
        value = value_at(request, field.at)
        asked = field.at == _PRESET and request.preset_chosen
        if asked or value != value_at(default, field.at):
            found[field.key] = field.write(value)
    return found


def to_words(values: Mapping[str, Any], fields: Iterable[Field] | None = None) -> list[str]:
    """A mapping by key that `from_mapping` takes, as words of the command line.

    fields: those of another command than `process-video`.
    """
    known = {field.key: field for field in (request_fields() if fields is None else fields)}
    words: list[str] = []
    for key, value in values.items():
        field, option = known[key], f"--{known[key].name}"
        if field.type is bool:
            words.append(option if value else f"{option}=false")
        elif isinstance(value, bool):
            words += [f"{option}={field.mark.bare}"] if value else []
        else:
            words += [f"{option}={one}" for one in (value if isinstance(value, list) else [value])]
    return words


def known_key(name: object, known: Iterable[str]) -> str:
    """The key of an option by its name. Raises UserError, which has the nearest known name."""
    key = name.replace("-", "_") if isinstance(name, str) else name
    if isinstance(key, str) and key in known:
        return key
    near = difflib.get_close_matches(str(key)[:_MOST_CHARACTERS], known, 1, 0.5)
    hint = f"did you mean '{near[0]}'?" if near else "`process-video --help` has them all"
    raise UserError(f"unknown option '{shortened(name)}'; {hint}")


_PRESET = ("settings", "invert", "preset")


def _with(base: Request, values: Mapping[str, Any]) -> Request:
    """`base` with values by key. Raises UserError for one of the call itself that is out of bounds."""
    given = [field for field in request_fields() if field.key in values]
    for field in given:
        if len(field.at) == 1:  # those of settings are checked before a job, with all else
            field.check(values[field.key])
    found = {field.at: values[field.key] for field in given}
    if _PRESET in found:
        found["preset_chosen",] = True
    return assembled(base, found)


def _value(field: Field, value: Any) -> Any:
    """A value of JSON's types as that of a field. Raises UserError."""
    if field.type is bool:
        if not isinstance(value, bool):
            raise UserError(f"'{field.key}' is true or false, not {_shown(value)}")
        return value
    if isinstance(value, bool) and field.mark.bare is not None:
        return field.read(field.mark.bare) if value else field.default
    if field.many:
        listed = value if isinstance(value, list | tuple) else [value]
        if len(listed) > _MOST_VALUES:
            raise UserError(f"'{field.key}' has {len(listed)} values; {_MOST_VALUES} is the most")
        return tuple(field.read(_text(field, one)) for one in listed)
    return field.read(_text(field, value))


def _text(field: Field, value: Any) -> str:
    """A word or a number as text. Raises UserError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        several = ", or a list of them" if field.many else ""
        raise UserError(f"'{field.key}' must be a word or a number{several}, not {_shown(value)}")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:  # which Python does not write out
        raise UserError(f"'{field.key}' has a number of more than {_MOST_BITS} bits")
    text = str(value)
    if len(text) > _MOST_CHARACTERS or "\0" in text:
        raise UserError(f"'{field.key}' has a value that is too long, or holds a NUL character")
    return text


def _shown(value: Any) -> str:
    """A value as a settings file has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else shortened(value)
