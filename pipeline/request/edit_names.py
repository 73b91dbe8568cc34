"""Names of edits: the generator's own directions, and those of files (`--directions`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.request.edits import Edit

if TYPE_CHECKING:
    from inverters.editing.directions import Direction
    from inverters.fitting.spaces import Space


def known_directions(
    generator: Any, files: Sequence[str], on_note: Callable[[str], None] | None = None
) -> dict[str, Direction]:
    """Directions by the names that an edit can use.

    A name is NAME, or SOURCE.NAME where several sources have NAME; SOURCE is the generator's name, or that of
    the file without its ending. on_note: called for each file that does not name its generator.

    Raises UserError for two files of one name; InverterError for a file that cannot be used.
    """
    from inverters.editing.direction_files import load_directions
    from inverters.editing.directions import own_directions

    own = own_directions(generator)
    sources = {own.generator: own.named}
    for file in map(Path, files):
        found = load_directions(file, generator)
        if file.stem in sources:
            raise UserError(f"--directions {file}: another source is named '{file.stem}'; rename the file")
        if found.fingerprint is None and on_note is not None:
            on_note(
                f"{file.name} does not say which generator its directions are for; an edit with those of "
                "another one does something else than their names say"
            )
        sources[file.stem] = found.named
    times = Counter(name for named in sources.values() for name in named)
    return {
        name if times[name] == 1 else f"{source}.{name}": direction
        for source, named in sources.items()
        for name, direction in named.items()
    }


def check_spaces(edits: Iterable[Edit], known: Mapping[str, Direction], space: Space) -> None:
    """Raise UserError for an edit in z of codes that are fitted in a space without z."""
    for edit in edits:
        if (own := known[edit.name]).codes == "z" and not space.bounded:
            raise UserError(
                f"--edit {edit.name}: its direction is in {own.space}, but the codes are fitted in "
                f"{space.name}, where no z is known; add --space z+ or f/z+"
            )


def digests_of(edits: Iterable[Edit], known: Mapping[str, Direction]) -> dict[str, str]:
    """Hashes of the directions of these edits, by the edit's name; a rendered edit depends on them."""
    return {edit.name: known[edit.name].digest() for edit in edits}
