"""A case from its seed and number: which files are changed and how, and who reads them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fuzz_bytes import Rng, mutated, pick
from benchmarks.fuzz_formats import FORMATS
from benchmarks.fuzz_runner import Case, Play

_NAMES = (
    "a b",
    "-i",
    "%05d",
    "concat:x",
    "pipe:0",
    "é\u0301",
    "a\nb",
    "\u001b[31mred",
    "\udcff",
    "x" * 200,
    "#?",
    "\u202egpj",
)
_SPECIAL = ("fifo", "folder", "empty", "missing", "outside", "circle", "nowhere", "endless", "sparse")
"""What a file can be in place of a file with bytes."""
_SPARSE = 1_500_000_000


@dataclass(frozen=True)
class Place:
    """What a reader is given: the file or folder, its surroundings, and a folder to write to.

    true: nothing was repaired after it was damaged, so that a checksum must have seen it.
    """

    main: Path
    inputs: Path
    work: Path
    true: bool


@dataclass(frozen=True)
class Carrier:
    """Bytes of valid files by path below a case."""

    name: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Kind:
    """A reader: the carriers that it is given, how often, and which of their files stay as they are."""

    carriers: str
    weight: int
    load: Callable[[Place], bool]
    stay: tuple[str, ...] = ()
    only: str = ""


def carriers_in(folder: Path) -> dict[str, list[Carrier]]:
    """All carriers of a run, by kind."""
    found: dict[str, list[Carrier]] = {}
    for made in sorted(folder.glob("*/*")):
        files = {
            p.relative_to(made).as_posix(): p.read_bytes() for p in sorted(made.rglob("*")) if p.is_file()
        }
        found.setdefault(made.parent.name, []).append(Carrier(made.name, files))
    return found


def player(kinds: Mapping[str, Kind], carriers: Mapping[str, Sequence[Carrier]], seed: int) -> Play:
    """The function that plays case N of a seed."""
    weights = np.array([kind.weight for kind in kinds.values()], float)
    names = list(kinds)

    def play(case: Case) -> bool:
        rng = np.random.default_rng([seed, case.number])
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        kind = kinds[name]
        fitting = [one for one in carriers[kind.carriers] if one.name.startswith(kind.only)]
        carrier = fitting[int(rng.integers(len(fitting)))]
        files, recipe = dict(carrier.files), [carrier.name]
        special = _damage(rng, files, carriers[kind.carriers], kind.stay, recipe)
        repaired = rng.random() < 0.5 and _repair(files)
        recipe += ["repaired"] if repaired else []
        stem = pick(rng, _NAMES) if rng.random() < 0.05 else "main"
        recipe += [f"named {stem[:20]!r}"] if stem != "main" else []
        main = write_case(case, files, special, stem)
        case.tell(name, "; ".join(recipe))
        return kind.load(Place(main, case.inputs, case.work, not repaired))

    return play


def _damage(
    rng: Rng, files: dict[str, bytes], others: Sequence[Carrier], stay: tuple[str, ...], recipe: list[str]
) -> dict[str, str]:
    """Change one to three files in place; returns those that become no files with bytes, and what instead."""
    special: dict[str, str] = {}
    targets = [path for path in files if not any(part in path for part in stay)]
    for _ in range(int(rng.choice((1, 2, 3), p=(0.6, 0.3, 0.1)))):
        path = targets[int(rng.integers(len(targets)))]
        suffix, chance = Path(path).suffix, rng.random()
        if chance < 0.06:
            special[path] = how = pick(rng, _SPECIAL)
        elif chance < 0.10:
            other = others[int(rng.integers(len(others)))]
            body = list(other.files.values())[int(rng.integers(len(other.files)))]
            start = int(rng.integers(len(files[path]) + 1)) if rng.random() < 0.5 else 0
            files[path], how = files[path][:start] + body[start:], f"{start} bytes, then {other.name}"
        elif suffix in FORMATS and chance < 0.7:
            files[path], how = FORMATS[suffix](rng, files[path])
        else:
            files[path], how = mutated(rng, files[path])
        recipe.append(f"{path[-40:]}: {how}")
    return special


def write_case(case: Case, files: Mapping[str, bytes], special: Mapping[str, str], stem: str) -> Path:
    """Write the files of a case; returns the path of `main`, whatever it is called now."""
    root, main = case.inputs.parent, case.inputs / "main"
    for path, data in files.items():
        parts = path.split("/")
        if parts[0] == "inputs" and parts[1].startswith("main"):
            rest = parts[1].removeprefix("main")
            parts[1] = stem + rest
            main = case.inputs / parts[1] if rest not in (".json", ".mp4") or main.name == "main" else main
        target = root.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = data.replace(b"@WORK@", os.fsencode(case.work)).replace(b"@INPUTS@", os.fsencode(case.inputs))
        _place(target, special.get(path, ""), data)
    return main


def _place(target: Path, what: str, data: bytes) -> None:
    links = {
        "outside": "../../outside/secret.txt",
        "circle": target.name,
        "nowhere": "gone",
        "endless": "/dev/zero",
    }
    if what in links:
        target.symlink_to(links[what])
    elif what == "fifo":
        os.mkfifo(target)
    elif what == "folder":
        target.mkdir()
    elif what == "sparse":
        target.touch()
        os.truncate(target, _SPARSE)
    elif what != "missing":
        target.write_bytes(b"" if what == "empty" else data)


def _repair(files: dict[str, bytes]) -> bool:
    """Make hashes fit what was changed, as a writer of such a file would; whether there was one to mend."""
    return any([_seal(files), _put_again(files), _card(files)])


def _seal(files: dict[str, bytes]) -> bool:
    """Manifests of a cache, and the hashes of headers in them."""
    from storage.layout import seal

    found = False
    for path in [path for path in files if path.endswith("/manifest.json") and path.startswith("work/")]:
        with contextlib.suppress(Exception):  # what is no manifest any more stays as it is
            manifest = json.loads(files[path])
            for name, entry in manifest["arrays"].items():
                header = files.get(f"{path.rpartition('/')[0]}/arrays/{name}/zarr.json", b"")
                entry["header"] = hashlib.sha256(header).hexdigest()
            manifest["seal"] = seal(manifest)
            files[path], found = json.dumps(manifest).encode(), True
    return found


def _put_again(files: dict[str, bytes]) -> bool:
    """Entries of a shared store."""
    found = False
    for path in [path for path in files if path.endswith(".tar")]:
        entry = {
            "object": Path(path).name,
            "sha256": hashlib.sha256(files[path]).hexdigest(),
            "bytes": len(files[path]),
        }
        files[path.partition(".")[0] + ".json"], found = json.dumps(entry).encode(), True
    return found


def _card(files: dict[str, bytes]) -> bool:
    """The fingerprint in the card of a generator."""
    weights, card = files.get("inputs/main.safetensors"), files.get("inputs/main.json")
    if weights is None or card is None:
        return False
    from safetensors.torch import load

    from inverters.generators.checkpoint import fingerprint

    with contextlib.suppress(Exception):
        found = {name: tensor for name, tensor in load(weights).items() if not name.startswith("card.")}
        values = json.loads(card)
        values["fingerprint"] = fingerprint(found)
        files["inputs/main.json"] = json.dumps(values).encode()
        return True
    return False
