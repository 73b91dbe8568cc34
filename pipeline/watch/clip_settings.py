"""`clip.yaml` beside `clip.mp4`: options of that clip alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

_PATHS = {"occluder_masks", "cameras", "directions"}
_FORBIDDEN = {"input", "out", "cache", "json", "quiet", "debug", "help"}


def side_file(clip: Path) -> Path | None:
    """The file of options that belongs to a clip, if there is one."""
    for path in (clip.with_suffix(".yaml"), clip.with_name(clip.name + ".yaml")):
        if path.is_file() and not path.is_symlink():
            return path
    return None


def options_of(clip: Path) -> list[str]:
    """The options in a clip's side file as words of the command line; empty where there is none.

    The file is a mapping of the command's long options, with _ or -: `edit: [smile=1.5, "age=1@0-2s"]`,
    `remove_occluder: true`, `preset: fast`. Paths in it lie in the clip's own folder or below it.

    Raises UserError.
    """
    path = side_file(clip)
    if path is None:
        return []
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path.name}: cannot be read ({' '.join(str(error).split())})") from error
    if found is None:
        return []
    if not isinstance(found, dict):
        raise UserError(f"{path.name}: must be a list of options such as `preset: fast`")
    words: list[str] = []
    for name, value in found.items():
        words += _words(str(name).replace("-", "_"), value, path)
    _check(words, path)
    return words


def _words(name: str, value: Any, path: Path) -> list[str]:
    if name in _FORBIDDEN:
        raise UserError(f"{path.name}: '{name}' cannot be set there")
    option = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [option] if value else []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str | int | float) for v in values):
        raise UserError(f"{path.name}: '{name}' must be a word, a number, or a list of them")
    return [word for v in values for word in (f"{option}={_inside(name, str(v), path)}",)]


def _inside(name: str, value: str, path: Path) -> str:
    """Paths are taken as relative to the side file, and may not leave its folder."""
    is_path = name in _PATHS or (name == "generator" and value != "bundled") or value.startswith("3ddfa:")
    if not is_path:
        return value
    prefix = "3ddfa:" if value.startswith("3ddfa:") else ""
    folder = path.parent.resolve()
    target = (folder / value.removeprefix(prefix)).resolve()
    if not target.is_relative_to(folder):
        raise UserError(f"{path.name}: '{name}' must name something in the clip's own folder, not {value}")
    return f"{prefix}{target}"


def _check(words: Sequence[str], path: Path) -> None:
    """Raise UserError for options that the command does not know."""
    from pipeline.request.options import process_arguments

    parser = process_arguments()

    def refuse(message: str) -> None:
        raise UserError(f"{path.name}: {message}")

    parser.error = refuse  # type: ignore[method-assign, assignment]
    parser.parse_args(["clip", *words])
