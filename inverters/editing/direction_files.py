"""Files of directions: our own, which have a card, and those of other projects, which have none."""

from __future__ import annotations

import json
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from inverters.editing.directions import Direction, Directions
from inverters.editing.local_basis import LocalBasis
from inverters.editing.styleclip import STEP, LevelsMapper, is_mapper, mapper_from
from inverters.errors import CheckpointError, FingerprintError
from inverters.generators.plain_pickle import shown
from inverters.generators.small_files import parse_json, write_whole
from inverters.generators.torch_file import is_torch_archive, read_torch_file

SUFFIX = ".safetensors"
_KIND = "directions"
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_UNKNOWN = "unknown: the file does not say"
_AS_STORED = "as stored"
_GANSPACE = (("comp", "std"), ("lat_comp", "lat_stdev"))
"""Keys of GANSpace's components and deviations, in converted files and in its own."""
_MOST_BYTES = 1 << 30
_NUMPY_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors of numpy on a damaged file; its header is parsed as a Python expression."""


def save_directions(path: Path, directions: Directions) -> None:
    """Write directions and their card to one .safetensors file, to the side and renamed.

    Raises:
        CheckpointError: another suffix, a name that cannot be used, a mapper, or a disk error.
    """
    if path.suffix != SUFFIX:
        raise CheckpointError(f"directions are written to a file that ends in {SUFFIX}, not '{path.name}'")
    arrays: dict[str, Tensor] = {}
    about: dict[str, dict[str, str | int]] = {}
    for name, one in directions.named.items():
        if isinstance(one.step, LevelsMapper):
            raise CheckpointError(f"'{name}' is a mapper; it stays in the file that it came in")
        about[name] = {"space": one.space, "unit": one.unit, "method": one.method}
        if one.arc:
            about[name]["arc"] = True
        step = one.step
        if isinstance(step, LocalBasis):
            about[name]["singular_vector"] = step.number
            step = torch.ones(1)  # there are no numbers to keep: they depend on the code
        arrays[_checked_name(path, name)] = step.detach().cpu().float().contiguous().clone()
    card = {
        "kind": _KIND,
        "fingerprint": directions.fingerprint,
        "generator": directions.generator,
        "directions": about,
    }
    try:
        write_whole(path, save(arrays, {"invid": json.dumps(card)}))
    except OSError as error:
        raise CheckpointError(f"cannot write '{path}': {error.strerror or error}") from error


def load_directions(path: Path, generator: Any, allow_unmarked: bool = True) -> Directions:
    """Return the directions of a file, for this generator; see `read_directions`.

    Raises:
        FingerprintError: the file belongs to another generator, or does not say which and `allow_unmarked` is
            False.
        CheckpointError: as in `read_directions`, or a shape does not fit the generator.
    """
    found = read_directions(path)
    if found.fingerprint is None and not allow_unmarked:
        raise FingerprintError(
            f"'{path}' does not say which generator it belongs to; the one in use is "
            f"{generator.card.fingerprint[:12]}"
        )
    found.check_fits(generator, f"'{path}'")
    return found


def read_directions(path: Path) -> Directions:
    """Return the directions of a file, whatever generator they are for. Nothing in a file is executed.

    Our own form (.safetensors), and by content, whatever the suffix:
    - numpy arrays and tables of them (.npy, .npz), tensors and tables of them from `torch.save`: (w_dim,),
    (1,w_dim), (num_ws,w_dim) or (1,num_ws,w_dim) is one direction, named after the file or by its key;
    (w_dim,w_dim) or (n,1,w_dim) is a basis, whose rows are NAME.0, NAME.1 ...;
    - GANSpace's tables (`comp`, `std`; `lat_comp`, `lat_stdev`): a basis in standard deviations;
    - StyleCLIP's mappers (`state_dict`, `opts`): one edit, named after the file.

    Raises:
        CheckpointError: the file is missing or damaged, or holds no plain data, no directions, or values that
            are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file of directions at '{path}'")
    try:
        if path.suffix == SUFFIX:
            return _from_safetensors(path)
        content = read_torch_file(path) if is_torch_archive(path) else numpy_content(path)
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from error
    return Directions(_directions_in(path, content))


def _from_safetensors(path: Path) -> Directions:
    try:
        with safe_open(path, framework="pt") as file:
            card = parse_json((file.metadata() or {}).get("invid", "{}"))
        arrays = load_file(path)
        if card.get("kind", _KIND) != _KIND:
            raise ValueError(f"it holds {card['kind']}")
        about, own = card.get("directions", {}), card.get("fingerprint")
        entries = {n: _entry(v) for n, v in about.items()}
    except (SafetensorError, ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"'{path}' cannot be read as directions: {shown(str(error))}") from error
    named: dict[str, Direction] = {}
    for name in sorted(arrays, key=[*entries, *sorted(arrays)].index):  # as they were written
        array = arrays[name]
        if name in entries:
            entry, step = entries[name], _finite(path, name, array)
            is_local = isinstance(entry.step, LocalBasis)
            named[_checked_name(path, name)] = entry if is_local else replace(entry, step=step)
        else:
            named |= _unstacked(path, name, array)
    return Directions(named, own if isinstance(own, str) else None, str(card.get("generator", "")))


def _entry(about: Mapping[str, Any]) -> Direction:
    """The direction of an entry in the card; its numbers are still missing, except for a local basis.

    Raises ValueError for an unknown space.
    """
    space, number = str(about.get("space", "w")), about.get("singular_vector")
    if space not in ("w", "w+", "z", "z+"):
        raise ValueError(f"it has directions in space '{space}'; known: w, w+, z, z+")
    codes: Literal["w", "z"] = "z" if space.startswith("z") else "w"
    step: Tensor | LocalBasis = torch.empty(0)
    if number is not None:
        if codes == "w" or type(number) is not int or number < 0:
            raise ValueError(f"it has singular vector {number!r:.20} in space {space}")
        step = LocalBasis(number, layered=space == "z+")
    unit, method = str(about["unit"]), str(about["method"])
    return Direction(step, unit, method, codes=codes, arc=about.get("arc") is True)


def numpy_content(path: Path) -> Any:
    """Return the array of a .npy file, or the table of a .npz file. Nothing is executed.

    Raises:
        CheckpointError: the file is damaged or holds objects.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
                    raise ValueError("it unpacks to more than a gigabyte")
        elif start != b"\x93NUMPY":
            raise CheckpointError(
                f"'{path}' is not a file of directions: numpy's .npy or .npz, torch's .pt, or {SUFFIX} is "
                "needed"
            )
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else {k: loaded[k] for k in loaded.files}
    except _NUMPY_DAMAGE as error:
        # An array of pickled objects is refused here too.
        raise CheckpointError(f"'{path}' is not a plain numpy file: {shown(str(error))}") from error


def _directions_in(path: Path, content: Any) -> dict[str, Direction]:
    """Directions by name in the content of a file."""
    if isinstance(content, Tensor | np.ndarray):
        return _unstacked(path, path.stem, content)
    if is_mapper(content):
        try:
            mapper = mapper_from(content)
        except CheckpointError as error:
            raise CheckpointError(f"'{path}' cannot be used: {error}") from None
        return {_checked_name(path, path.stem): Direction(mapper, f"{STEP} M(w)", "StyleCLIP mapper")}
    if isinstance(content, Mapping):
        for components, deviations in _GANSPACE:
            if components in content and deviations in content:
                return _ganspace(path, content[components], content[deviations])
        if content and all(isinstance(value, Tensor | np.ndarray) for value in content.values()):
            found: dict[str, Direction] = {}
            for name, array in content.items():
                found |= _unstacked(path, str(name), array)
            return found
    raise CheckpointError(f"'{path}' holds {_described(content)}, not directions")


def _ganspace(path: Path, components: Any, deviations: Any) -> dict[str, Direction]:
    name, basis = path.stem, _numbers(path, "its components", components)
    spread = _numbers(path, "its deviations", deviations).reshape(-1)
    if basis.ndim == 0 or 0 in basis.shape:
        raise CheckpointError(f"'{path}' has components of shape {list(basis.shape)}")
    basis = basis.reshape(-1, basis.shape[-1])
    if len(spread) != len(basis):
        raise CheckpointError(f"'{path}' has {len(basis)} components but {len(spread)} deviations")
    unit, method = "one standard deviation of the component", "GANSpace: principal components of w"
    return {
        _checked_name(path, f"{name}.{k}"): Direction(_finite(path, f"{name}.{k}", step), unit, method)
        for k, step in enumerate(basis * spread[:, None])
    }


def _unstacked(path: Path, name: str, array: Any) -> dict[str, Direction]:
    """One direction, or the rows of a basis."""
    values = _numbers(path, f"direction '{shown(name)}'", array)
    while values.ndim > 1 and values.shape[0] == 1:
        values = values.squeeze(0)
    if values.ndim == 3 and values.shape[1] == 1:
        basis, values = True, values.squeeze(1)
    else:
        basis = values.ndim == 2 and values.shape[0] == values.shape[1]
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise CheckpointError(
            f"direction '{shown(name)}' in '{path}' has shape {list(array.shape)}; [w_dim], [num_ws,w_dim], "
            "or the same with a one before it, is needed"
        )
    if basis:
        rows = {f"{name}.{k}": row.clone() for k, row in enumerate(values)}
    else:
        rows = {name: values}
    return {
        _checked_name(path, k): Direction(_finite(path, k, v), _AS_STORED, _UNKNOWN) for k, v in rows.items()
    }


def _numbers(path: Path, what: str, array: Any) -> Tensor:
    """Float32 tensor of a numpy array of either memory order, or of a tensor."""
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values too large for float32 become infinite and are refused
            return torch.from_numpy(np.array(array, np.float32, order="C"))
    if isinstance(array, Tensor) and array.is_floating_point():
        return array.detach().float().contiguous()
    raise CheckpointError(f"{what} in '{path}' is {_described(array)}, not numbers with a fraction")


def _finite(path: Path, name: str, step: Tensor) -> Tensor:
    if not torch.isfinite(step).all():
        raise CheckpointError(f"direction '{shown(name)}' in '{path}' holds values that are not finite")
    if not step.any():
        raise CheckpointError(f"direction '{shown(name)}' in '{path}' is zero; it would change nothing")
    return step


def _checked_name(path: Path, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise CheckpointError(
            f"direction '{shown(name)}' in '{path}' cannot be named in an edit: names begin with a letter "
            "and have letters, digits, '_', '.' and '-'; rename the file or its entry"
        )
    return name


def _described(content: Any) -> str:
    if isinstance(content, np.ndarray | Tensor):
        return f"{str(content.dtype).removeprefix('torch.')} {list(content.shape)}"
    if isinstance(content, Mapping):
        return f"a table of {', '.join(shown(name) for name in sorted(map(str, content))[:5]) or 'nothing'}"
    return f"a {type(content).__name__}"
