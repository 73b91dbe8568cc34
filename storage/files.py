"""Write a file to a temporary path beside it and rename it into place."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`, which replaces `path` when the block succeeds.

    Its folder must exist. A reader of `path` sees the old file or the new one; after an exception nothing is
    left of the new one.

        with replacing(path) as side:
            side.write_text(text)
    """
    side = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield side
        side.replace(path)
    finally:
        side.unlink(missing_ok=True)
