"""Write single images."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pipeline.clip import U8
from pipeline.errors import OutputError
from storage.files import replacing


def save_png(image: U8, path: Path) -> None:
    """Write an image uint8 [H,W,3] as PNG, whole or not at all. Raises OutputError."""
    try:
        with replacing(path) as side:
            Image.fromarray(image).save(side, format="PNG")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
