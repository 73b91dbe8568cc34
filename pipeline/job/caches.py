"""Open the stage cache: a folder, or a store that several machines share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from storage import StageCache


def default_cache() -> Path:
    """The cache folder without `--cache` (XDG base directories). Raises UserError where there is no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "invid"
    except RuntimeError:
        raise UserError("this user has no home folder for the cache; name a folder with --cache") from None


def mirror_of(url: str) -> Path:
    """The folder on this machine that mirrors a shared store."""
    return default_cache() / "mirrors" / hashlib.sha256(url.encode()).hexdigest()[:16]


def place_of(where: Path | str | None) -> Path:
    """The folder on this machine that holds what a job with this `--cache` writes."""
    if where is not None and "://" in str(where):
        return mirror_of(str(where))
    return Path(where) if where is not None else default_cache()


def open_cache(
    where: Path | str | None, on_damage: Callable[[str], None] | None = None, label: str = ""
) -> StageCache:
    """The cache in a folder, or at a URL such as s3://bucket/folder.

    A shared cache has a mirror on this machine, where jobs read and write. Raises StorageError.
    """
    from storage import SharedStore, StageCache

    shared = SharedStore(str(where)) if where is not None and "://" in str(where) else None
    return StageCache(place_of(where), on_damage, shared, label)
