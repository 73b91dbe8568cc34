"""`clip.yaml` beside `clip.mp4`: options of that clip alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import UserError, shortened
from pipeline.request.fields import Field, UserPath
from pipeline.request.options import from_mapping, known_key, request_fields, to_words
from pipeline.request.paths import lies_within
from pipeline.request.settings import Request
from pipeline.request.settings_file import read_settings


def side_file(clip: Path) -> Path | None:
    """The file of options that belongs to a clip, if there is one; a link is none."""
    for path in (clip.with_suffix(".yaml"), clip.with_name(clip.name + ".yaml")):
        try:
            if path.is_file() and not path.is_symlink():
                return path
        except OSError:  # the clip's name is so long that there can be no such file
            continue
    return None


def options_of(clip: Path) -> list[str]:
    """The options in a clip's side file, as words of the command line; empty where there is none.

    The file is a mapping of options of `process-video`, with _ or -: `edit: [smile=1.5, "age=1@0-2s"]`,
    `remove_occluder: true`, `preset: fast`. Options of the call itself, such as `out`, are not taken. Paths
    are relative to the clip's folder and stay within it.

    Raises UserError.
    """
    path = side_file(clip)
    if path is None:
        return []
    known = {field.key: field for field in request_fields()}
    clips = {key: field for key, field in known.items() if field.at[0] == "settings"}
    values: dict[str, Any] = {}
    found = read_settings(path)
    try:
        for name, value in found.items():
            if isinstance(name, str) and name.replace("-", "_") in known.keys() - clips.keys():
                raise UserError(f"'{name}' cannot be set there")
            key = known_key(name, clips)
            values[key] = _fenced(clips[key], value, path.parent.resolve())
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    from_mapping(values, path.name, Request(clip))
    return to_words(values)


def _fenced(field: Field, value: Any, folder: Path) -> Any:
    """The value with its paths made absolute. Raises UserError for one outside the clip's folder."""
    rule = field.mark.path
    if rule is None:
        return value
    if isinstance(value, list):
        return [_inside(field, rule, one, folder) for one in value]
    return _inside(field, rule, value, folder)


def _inside(field: Field, rule: UserPath, value: Any, folder: Path) -> Any:
    inner = rule.within(str(value))
    if inner is None or not isinstance(value, str | int | float) or isinstance(value, bool):
        return value  # names no path, or is refused with all else that is no text
    try:
        target = (folder / inner).resolve()
        within = lies_within(target, [folder], rule.folder)
    except (OSError, ValueError, RuntimeError) as error:  # such as a NUL character, or links in a circle
        raise UserError(f"'{field.key}' cannot be read ({error})") from error
    if not within:
        shown = shortened(value)
        raise UserError(f"'{field.key}' must name something in the clip's own folder, not {shown}")
    return rule.around(target)
