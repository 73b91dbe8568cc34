"""Encoder of base codes: the features at a layer of a generator, from a picture eight times as large.

Katsumata et al. 2024, "Revisiting Latent Space of GAN Inversion for Robust Real Image Editing" (equation 2);
the network is Kang et al. 2021's. Their file is a `torch.save` table with the state dict under `encoder`;
ours (`inverters/training/base_code.py`) is a .safetensors whose header has the card under `invid`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from inverters.errors import CheckpointError, FingerprintError
from inverters.generators.plain_pickle import shown
from inverters.generators.small_files import open_regular, parse_json, write_whole
from inverters.generators.strict_loading import filled, table_with, tensors_of

SCALE = 8
"""Pictures are so many times as wide as the base code."""
WIDTHS = (128, 256, 512)
"""Channels of the three groups, each of three convolutions and a pooling."""
_KIND = "base-code encoder"
_MOST_WIDTH, _MOST_BLOCK = 4096, 1024


class BaseCodeEncoder(nn.Module):
    """Network from pictures [N,3,8r,8r] in [-1,1] to base codes [N,F,r,r], F the last width."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            for _ in range(3):
                layers += _convolution(channels, width)
                channels = width
            layers.append(nn.AvgPool2d(2))
        layers += _convolution(channels, channels)
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map pictures [N,3,8r,8r] to base codes [N,C,r,r]."""
        found: Tensor = self.model(images)
        return found


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]


def load_base_code_encoder(file: object, what: str) -> BaseCodeEncoder:
    """Return the encoder in what a safe reader gave for a file, ready for use.

    Args:
        file: a table with the state dict under `encoder`.
        what: what it is, for messages.

    Raises:
        CheckpointError: there is no such table, or its tensors are not those of this network.
    """
    tensors = tensors_of(table_with(file, what, "encoder")["encoder"], what)
    return filled(BaseCodeEncoder, tensors, what)


@dataclass(frozen=True)
class BaseCodeCard:
    """What is known of an encoder of ours beside its weights."""

    fingerprint: str
    """Of the generator whose base codes it tells."""
    generator: str
    """Its name."""
    block: int
    """Resolution of the layer."""
    widths: tuple[int, ...]
    """Of the network."""
    steps: int
    """Training steps."""

    def check_generator(self, fingerprint: str) -> None:
        """Raise FingerprintError unless the encoder is for this generator."""
        if fingerprint != self.fingerprint:
            raise FingerprintError(
                f"the base-code encoder is for generator '{shown(self.generator)}' "
                f"({self.fingerprint[:12]}), but the one in use is {fingerprint[:12]}; train one for it"
            )


def save_base_code_encoder(path: Path, encoder: BaseCodeEncoder, card: BaseCodeCard) -> None:
    """Write an encoder with its card at half precision, to the side and renamed.

    Raises CheckpointError for a disk error.
    """
    about = json.dumps({"kind": _KIND} | asdict(card))
    tensors = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in encoder.state_dict().items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(tensors, {"invid": about}))
    except OSError as error:
        raise CheckpointError(f"cannot write '{path}': {error.strerror or error}") from error


def read_base_code_encoder(path: Path) -> tuple[BaseCodeEncoder, BaseCodeCard]:
    """Return an encoder of ours, ready for use, and its card.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind.
    """
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            about = parse_json((file.metadata() or {}).get("invid", "{}"))
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        if about.get("kind") != _KIND:
            raise ValueError("it is no base-code encoder")
        card = _card_of(about)
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"'{path}' cannot be read as an encoder: {shown(str(error))}") from error
    return filled(lambda: BaseCodeEncoder(card.widths), tensors, f"'{path}'"), card


def encoder_for(generator: Any, path: Path, block: int) -> BaseCodeEncoder:
    """Return the encoder in a file of ours for the layer of resolution `block` of a generator.

    Raises:
        CheckpointError: as `read_base_code_encoder`, or it tells base codes of another layer.
        FingerprintError: it is for another generator.
    """
    encoder, card = read_base_code_encoder(path)
    card.check_generator(generator.card.fingerprint)
    if card.block != block:
        raise CheckpointError(
            f"'{path}' tells base codes of block {card.block}, not {block}; give --space f{card.block}/..."
        )
    return encoder.to(generator.backbone.mapping.w_avg.device)


def as_input(images: Tensor, block: int) -> Tensor:
    """Return pictures [N,3,S,S] as the encoder of the layer of resolution `block` reads them."""
    side = SCALE * block
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _card_of(about: dict[str, object]) -> BaseCodeCard:
    """The card. Raises ValueError, TypeError and KeyError for values that cannot be."""
    values = {name: about[name] for name in ("fingerprint", "generator", "block", "widths", "steps")}
    widths, block, steps = values["widths"], values["block"], values["steps"]
    if not isinstance(widths, list) or len(widths) != len(WIDTHS):
        raise ValueError("its widths are not three")
    for number, most in ((block, _MOST_BLOCK), *((width, _MOST_WIDTH) for width in widths)):
        if type(number) is not int or not 1 <= number <= most:
            raise ValueError(f"it has the size {number!r:.20}")
    if not isinstance(values["fingerprint"], str) or not isinstance(values["generator"], str):
        raise TypeError("its generator is no text")
    if type(block) is not int or type(steps) is not int:
        raise TypeError("its numbers are no whole ones")
    return BaseCodeCard(values["fingerprint"], values["generator"], block, tuple(widths), steps)
