"""Our own file form of a generator: NAME.safetensors (weights and the card's arrays) and NAME.json (card).

Weights of more than MAX_FILE_BYTES go on in NAME.2.safetensors and so on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.card import CameraRule, CropRule, GeneratorCard, checked_camera, checked_crop
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.plain_pickle import shown
from inverters.generators.small_files import open_regular, read_json, write_whole

FORMAT = "invid-generator"
VERSION = 1
MAX_FILE_BYTES = 15_000_000
"""Weights in a file, unless one tensor has more."""
_ARRAYS = "card."
"""Prefix of the card's arrays among the tensors; the fingerprint leaves them out."""


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of the stored weights, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{str(tensor.dtype).removeprefix('torch.')}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_generator(
    path: Path, generator: Generator, card: GeneratorCard | None = None, dtype: torch.dtype = torch.float16
) -> GeneratorCard:
    """Write `path` (.safetensors) and the card beside it (.json), each to the side and renamed.

    Large generators take several files, see the module's text.

    Args:
        path: ends in .safetensors; its folder is made if missing.
        generator: its weights and its configuration are written.
        card: None takes the generator's. Configuration and fingerprint are replaced.
        dtype: float16 or float32, to which the weights are rounded. The card's arrays stay float32.

    Returns:
        The card as written, with the fingerprint of the rounded weights.

    Raises:
        CheckpointError: another suffix, or a disk error.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"a generator is written to a file that ends in .safetensors, not '{path.name}'"
        )
    weights = {k: v.detach().cpu().to(dtype).contiguous() for k, v in generator.state_dict().items()}
    card = dataclasses.replace(
        card or generator.card, config=generator.config, fingerprint=fingerprint(weights)
    )
    shards = _shards(weights)
    shards[0] |= {_ARRAYS + k: v for k, v in _arrays(card).items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for k, shard in enumerate(shards):
            write_whole(_shard_path(path, k), save(shard, {"format": FORMAT, "files": str(len(shards))}))
        write_whole(path.with_suffix(".json"), (json.dumps(_card_json(card), indent=2) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"cannot write '{path}': {error.strerror or error}") from error
    return card


def load_checkpoint(path: Path) -> tuple[GeneratorCard, dict[str, Tensor]]:
    """Return the card and the weights, in stored precision, of a generator in our own form.

    Raises:
        CheckpointError: a file is missing, truncated or of another kind, or the two do not belong together.
    """
    card_path = path.with_suffix(".json")
    tensors = _read_tensors(path)
    weights = {k: v for k, v in tensors.items() if not k.startswith(_ARRAYS)}
    arrays = {k.removeprefix(_ARRAYS): v for k, v in tensors.items() if k.startswith(_ARRAYS)}
    try:
        values = read_json(card_path)
    except FileNotFoundError:
        raise CheckpointError(
            f"the generator '{path}' has no card: '{card_path.name}' is missing beside it"
        ) from None
    except OSError as error:
        raise CheckpointError(f"cannot read the card '{card_path}': {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"the card '{card_path}' is damaged ({shown(str(error))})") from error
    try:
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise CheckpointError(f"'{card_path}' is not the card of a generator")
        if values.get("version") != VERSION:
            raise CheckpointError(
                f"the card '{card_path}' has version {str(values.get('version'))[:20]}; "
                f"version {VERSION} is read"
            )
        found = fingerprint(weights)
        if found != values["fingerprint"]:
            raise CheckpointError(
                f"the card '{card_path.name}' belongs to the weights {str(values['fingerprint'])[:12]}, "
                f"but '{path.name}' has {found[:12]}"
            )
        return _card_from(values, arrays), weights
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"the card '{card_path}' is damaged ({type(error).__name__}: {shown(str(error))})"
        ) from error


def _shards(weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Weights in order, in parts of at most MAX_FILE_BYTES or one larger tensor."""
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in weights.items():
        if used and used + tensor.nbytes > MAX_FILE_BYTES:
            shards.append({})
            used = 0
        shards[-1][name] = tensor
        used += tensor.nbytes
    return shards


def _shard_path(path: Path, number: int) -> Path:
    """NAME.safetensors, NAME.2.safetensors, ..."""
    return path.with_suffix(f".{number + 1}{path.suffix}") if number else path


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of all files of a generator."""
    tensors, files = _read_file(path)
    for number in range(1, files):
        more = _shard_path(path, number)
        if not more.is_file():
            raise CheckpointError(f"the generator '{path}' has {files} files: '{more.name}' is missing")
        tensors |= _read_file(more)[0]
    return tensors


def _read_file(path: Path) -> tuple[dict[str, Tensor], int]:
    """The tensors of one file, and how many files there are."""
    try:
        open_regular(path).close()
        with safetensors.safe_open(path, framework="pt") as file:
            count = (file.metadata() or {}).get("files", "1")
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            return tensors, int(count) if re.fullmatch("[0-9]{1,4}", count) else 1
    except FileNotFoundError:
        raise CheckpointError(f"there is no generator at '{path}'") from None
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"'{path}' is truncated or is not a safetensors file ({shown(str(error))})"
        ) from error


def _arrays(card: GeneratorCard) -> dict[str, Tensor]:
    """Arrays of a card by name."""
    arrays = {"w_avg": card.w_avg, "w_std": card.w_std}
    arrays |= {
        f"landmarks3d.{k}": torch.from_numpy(np.asarray(v, np.float32)) for k, v in card.landmarks3d.items()
    }
    arrays |= {f"directions.{k}": v for k, v in card.directions.items()}
    return {k: v.detach().cpu().float().contiguous().clone() for k, v in arrays.items()}


def _card_json(card: GeneratorCard) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": card.name,
        "licence": card.licence,
        "fingerprint": card.fingerprint,
        "config": card.config.to_dict(),
        "crop_rule": dataclasses.asdict(card.crop_rule),
        "camera_rule": dataclasses.asdict(card.camera_rule),
        "parameters": list(card.parameters),
        "landmark_layouts": sorted(card.landmarks3d),
        "directions": sorted(card.directions),
        "reports": dict(card.reports),
    }


def _finite(name: str, array: Tensor) -> Tensor:
    """The array. Raises ValueError unless it has numbers with a fraction, and all of them are finite."""
    if not array.is_floating_point() or not torch.isfinite(array).all():
        raise ValueError(f"{name} has values that are no finite numbers")
    return array


def _shaped(name: str, array: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The array. Raises ValueError unless it is finite and of this shape."""
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {list(array.shape)}")
    return _finite(name, array)


def _card_from(values: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> GeneratorCard:
    crop, camera = dict(values["crop_rule"]), dict(values["camera_rule"])
    crop["points3d"] = tuple(tuple(p) for p in crop["points3d"])
    camera["pivot"] = tuple(camera["pivot"])
    for name in ("name", "fingerprint", "licence"):
        if not isinstance(values[name], str):
            raise TypeError(f"its {name} is no text")
    config = GeneratorConfig.from_dict(values["config"])
    return GeneratorCard(
        name=values["name"],
        config=config,
        w_avg=_shaped("w_avg", arrays["w_avg"], (config.w_dim,)),
        w_std=_shaped("w_std", arrays["w_std"], (config.w_dim,)),
        crop_rule=checked_crop(CropRule(**crop)),
        camera_rule=checked_camera(CameraRule(**camera)),
        landmarks3d={
            k: _shaped(k, array, (int(k), 3) if k.isdecimal() else array.shape).numpy()
            for k in values["landmark_layouts"]
            for array in [arrays[f"landmarks3d.{k}"]]
        },
        directions={k: _finite(f"direction '{k}'", arrays[f"directions.{k}"]) for k in values["directions"]},
        parameters=tuple(str(name) for name in values["parameters"]),
        reports=dict(values["reports"]),
        fingerprint=values["fingerprint"],
        licence=values["licence"],
    )
