"""Official files of encoders to w+, as encoders of our table.

They say nothing of the generator that they belong to; only their shapes are compared with the one in use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inverters.encoders.e3dge_files import load_e3dge_triplane
from inverters.encoders.e4e import Encoder4Editing
from inverters.encoders.encoder_file import Encoder, EncoderCard
from inverters.encoders.file_pairs import files_of
from inverters.encoders.goae_encoder import load_goae_encoder
from inverters.encoders.goae_network import load_goae
from inverters.encoders.psp import GradualStyleEncoder, load_psp
from inverters.encoders.triplanenet import load_triplanenet
from inverters.errors import CheckpointError, FingerprintError
from inverters.generators.torch_file import read_torch_file

OFFICIAL = (".pt", ".pth")
"""Ends of the names of such files."""


def load_official(name: str, path: Path, generator: Any) -> Encoder:
    """Return the encoder `name` from a file that `torch.save` wrote, for a generator.

    The alignment of `goae` is in a second file beside it (`encoders.file_pairs`).

    Raises:
        CheckpointError: it is unreadable, or of another network.
        FingerprintError: its codes or features have another shape than the generator's.
    """
    if name not in ("psp", "e3dge", "e4e", "goae", "goae-w+", "triplanenet"):
        raise CheckpointError(f"there are no official files of {name}; give its .safetensors")
    if not path.is_file():
        raise CheckpointError(f"there is no encoder at '{path}'")
    file, what = read_torch_file(path), f"'{path}'"
    network: Any
    card = generator.card
    if name == "e3dge":
        network = load_e3dge_triplane(file, generator, what)
        return Encoder(network, _card(name, network, card))
    if name == "goae":
        other = files_of(name, path)[1]
        network = load_goae(file, read_torch_file(other), what, f"'{other}'")
        network.with_generator(generator)
        return Encoder(network, _card(name, network, card))
    if name == "triplanenet":
        network = load_triplanenet(file, generator, what=what)
        return Encoder(network, _card(name, network, card))
    if name == "goae-w+":
        network = load_goae_encoder(file, what=what)
    else:
        network = load_psp(file, Encoder4Editing if name == "e4e" else GradualStyleEncoder, what)[0]
    config = generator.config
    if (network.config.num_ws, network.config.w_dim) != (config.num_ws, config.w_dim):
        raise FingerprintError(
            f"{what} tells codes of {network.config.num_ws} x {network.config.w_dim} numbers, the generator "
            f"'{card.name}' ({card.fingerprint[:12]}) has {config.num_ws} x {config.w_dim}"
        )
    return Encoder(network, _card(name, network, card))


def _card(name: str, network: Any, generator: Any) -> EncoderCard:
    """The card that an official file does not have, for the generator whose card is given."""
    licence = "that of the file's authors"
    return EncoderCard(name, network.config, generator.name, generator.fingerprint, licence)
