"""Official encoders of two files: the second is found beside the first. Needs no torch."""

from __future__ import annotations

from pathlib import Path

_PAIRS = {"goae": ("encoder", "afa")}
"""By encoder, the words in which the names of both files differ."""


def files_of(name: str, path: Path) -> tuple[Path, ...]:
    """Return the files of the encoder `name` whose first is `path`, whether they exist or not.

    GOAE's `encoder_FFHQ.pt` has `afa_FFHQ.pt` beside it. An encoder in our own form (.safetensors) is one.
    """
    if name not in _PAIRS or path.suffix == ".safetensors":
        return (path,)
    first, second = _PAIRS[name]
    return path, path.with_name(path.name.replace(first, second, 1))
