"""What a run may read and write: absolute paths, and with INVID_ROOTS only those below these folders.

    INVID_ROOTS=/clips:/results:s3://bucket/invid invid serve

Whoever may make a run chooses its paths, and the worker reads and writes them with its own rights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.parameters import given
from pipeline.errors import UserError, shortened
from pipeline.request.command_line import HelpShown
from pipeline.request.options import from_mapping, known_key, parse, request_fields, to_words
from pipeline.request.paths import lies_within, user_paths
from pipeline.request.settings import Request
from pipeline.request.submission import check_no_password

VARIABLE = "INVID_ROOTS"


def request_of_run(
    video: Path,
    out: Path,
    cache: str | None,
    options: Sequence[str] | None,
    settings: Mapping[str, Any] | None,
) -> Request:
    """The request that a run's parameters ask for; settings count more than options, the others more still.

    Raises UserError for what process-video refuses, and for a path that is relative or outside the roots.
    """
    check_path("video", video, with_contents=True)
    request = from_mapping(given(settings), "settings", _parsed(video, options))
    request = replace(request, out=out, cache=cache or request.cache)
    _check(request)
    return request


def words_of_folder_run(
    folder: Path, out: Path, options: Sequence[str] | None, settings: Mapping[str, Any] | None = None
) -> list[str]:
    """The options of every clip of a folder as words, checked as `request_of_run` does for one clip."""
    check_path("folder", folder)
    check_path("out", out)
    asked = given(settings)
    _check(replace(from_mapping(asked, "settings", _parsed(folder, options)), out=out))
    keys = [field.key for field in request_fields()]
    return [*(options or []), *to_words({known_key(name, keys): value for name, value in asked.items()})]


def refuse_where_fenced(flow: str) -> None:
    """Raise UserError for a flow that reads and writes where its options say, if there are roots."""
    if os.environ.get(VARIABLE):
        raise UserError(f"{flow} is not run where {VARIABLE} is set: its options name paths freely")


def check_path(name: str, path: Path, with_contents: bool = False) -> None:
    """Raise UserError for a path that is relative or lies outside the roots, links followed."""
    shown = shortened(path)
    if not path.is_absolute():
        raise UserError(
            f"{name}: '{shown}' is relative, and a run has no folder of its own; give an absolute path"
        )
    if not (roots := _roots()):
        return
    try:
        # A pattern such as shot.####.png names files of its folder.
        inside = lies_within(path, roots, with_contents) and (
            not with_contents or path.exists() or lies_within(path.parent, roots, True)
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{name}: '{shown}' cannot be followed ({error})") from error
    if not inside:
        allowed = ", ".join(map(str, roots))
        raise UserError(
            f"{name}: '{shown}' lies outside of the folders that runs may use ({VARIABLE}: {allowed})"
        )


def _check(request: Request) -> None:
    for named in user_paths(request):
        check_path(named.option, named.path, named.folder)
    if request.cache is not None and "://" in str(request.cache):
        check_no_password(str(request.cache))
        _check_url(str(request.cache))


def _check_url(url: str) -> None:
    """Raise UserError for the URL of a cache that is not one of the roots, nor below one."""
    if not os.environ.get(VARIABLE):
        return
    allowed = [root.rstrip("/") for root in _entries() if "://" in root]
    if ".." in url or not any(url.rstrip("/") == root or url.startswith(f"{root}/") for root in allowed):
        raise UserError(f"--cache: '{shortened(url)}' is not among the places that runs may use ({VARIABLE})")


def _parsed(video: Path, options: Sequence[str] | None) -> Request:
    try:
        return parse([str(video), *(options or [])], files=False)
    except HelpShown:
        raise UserError("options: they ask for help, which `process-video --help` shows") from None


def _entries() -> list[str]:
    """The roots as text; the colon of a URL separates nothing."""
    return [entry for entry in re.split(r":(?!//)", os.environ.get(VARIABLE, "")) if entry]


def _roots() -> list[Path]:
    """The folders among the roots, links followed."""
    return [Path(entry).resolve() for entry in _entries() if "://" not in entry]
