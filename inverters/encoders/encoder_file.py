"""Our own file form of an encoder: NAME.safetensors (weights) and NAME.json (card) beside it.

The card has the fingerprint of the generator whose codes the encoder tells; another generator is an error.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from inverters.encoders.configs import config_of
from inverters.encoders.e4e_mask import Seen
from inverters.encoders.swin import SwinPyramid
from inverters.encoders.table import kind_of, see
from inverters.errors import CheckpointError, FingerprintError, UnknownNameError
from inverters.generators.checkpoint import fingerprint
from inverters.generators.plain_pickle import shown
from inverters.generators.small_files import open_regular, read_json, write_whole
from inverters.generators.strict_loading import filled

FORMAT, VERSION = "invid-encoder", 1
MOST_BYTES = 1 << 31


@dataclasses.dataclass(frozen=True)
class EncoderCard:
    """What is known of an encoder beside its weights."""

    network: str
    """Its name in `encoders.table`."""
    config: Any
    generator: str
    """Name of the generator."""
    fingerprint: str
    """Of the generator's weights."""
    licence: str = ""
    reports: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: str = ""
    """Fingerprint of the encoder's own weights."""

    def check_generator(self, name: str, found: str) -> None:
        """Raise FingerprintError unless it is for the generator of this name and fingerprint."""
        if found != self.fingerprint:
            raise FingerprintError(
                f"the encoder {self.network} was trained for generator '{shown(self.generator)}' "
                f"({self.fingerprint[:12]}), but the generator in use is '{shown(name)}' ({found[:12]}); "
                "train one for it with `invid train-encoder`"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """An encoder with its card."""

    network: nn.Module
    card: EncoderCard

    @torch.no_grad()
    def see(self, images: Tensor) -> Seen:
        """Return what it sees in pictures [N,3,S,S] in [-1,1]."""
        return see(self.network, images)


def save_encoder(
    path: Path, network: nn.Module, card: EncoderCard, dtype: torch.dtype = torch.float16
) -> EncoderCard:
    """Write `path` (.safetensors) and the card beside it, each to the side and renamed; return the card.

    Raises:
        CheckpointError: another suffix, or a disk error.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"an encoder is written to a file that ends in .safetensors, not '{path.name}'")
    weights = {
        name: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    card = dataclasses.replace(card, weights=fingerprint(weights))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(weights, {"format": FORMAT}))
        write_whole(path.with_suffix(".json"), (json.dumps(_to_json(card), indent=1) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"cannot write '{path}': {error.strerror or error}") from error
    return card


def load_encoder(path: Path, device: torch.device | str = "cpu") -> Encoder:
    """Return an encoder in our own form: float32, eval mode, no gradients.

    Raises:
        CheckpointError: a file is missing, damaged or of another kind, or the two do not belong together.
    """
    card = read_encoder_card(path)
    weights = _read_weights(path)
    if (found := fingerprint(weights)) != card.weights:
        raise CheckpointError(
            f"the card '{path.with_suffix('.json').name}' belongs to the weights {card.weights[:12]}, "
            f"but '{path.name}' has {found[:12]}"
        )
    weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    network = filled(lambda: kind_of(card.network).build(card.config), weights, f"'{path}'")
    for part in network.modules():
        if isinstance(part, SwinPyramid):
            part.make_tables()
    return Encoder(network.to(device).to(memory_format=torch.channels_last), card)


def read_encoder_card(path: Path) -> EncoderCard:
    """Return the card beside an encoder's weights; raises CheckpointError as `load_encoder`."""
    if not path.is_file():
        raise CheckpointError(f"there is no encoder at '{path}'")
    card = path.with_suffix(".json")
    try:
        values = read_json(card)
    except FileNotFoundError:
        raise CheckpointError(
            f"the encoder '{path}' has no card: '{card.name}' is missing beside it"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the card '{card}': {shown(str(error))}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(f"'{card}' is not the card of an encoder")
    if values.get("version") != VERSION:
        found = str(values.get("version"))[:20]
        raise CheckpointError(f"the card '{card}' has version {found}; version {VERSION} is read")
    try:
        return _from_json(values)
    except (ValueError, KeyError, TypeError, AttributeError, UnknownNameError) as error:
        text = shown(str(error))
        raise CheckpointError(f"the card '{card}' is damaged ({type(error).__name__}: {text})") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
        if size > MOST_BYTES:
            raise CheckpointError(f"'{path}' has {size} bytes; an encoder has at most {MOST_BYTES}")
        with safetensors.safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in list(opened.keys())}
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        text = shown(str(error))
        raise CheckpointError(f"'{path}' is truncated or is not a safetensors file ({text})") from error


def _to_json(card: EncoderCard) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "network": card.network,
        "config": dataclasses.asdict(card.config),
        "generator": card.generator,
        "fingerprint": card.fingerprint,
        "weights": card.weights,
        "licence": card.licence,
        "reports": dict(card.reports),
    }


def _from_json(values: Mapping[str, Any]) -> EncoderCard:
    for name in ("network", "generator", "fingerprint", "weights", "licence"):
        if not isinstance(values[name], str):
            raise TypeError(f"its {name} is no text")
    return EncoderCard(
        network=values["network"],
        config=config_of(kind_of(values["network"]).config, values["config"]),
        generator=values["generator"],
        fingerprint=values["fingerprint"],
        licence=values["licence"],
        reports=dict(values["reports"]),
        weights=values["weights"],
    )
