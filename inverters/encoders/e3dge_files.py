"""Loaders of E3DGE's released files: its own networks, StyleSDF's generator and StyleSDF's pose network.

A container of the same four networks that was trained for an EG3D generator, with pSp as E0, is read too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from inverters.encoders import e3dge_encoder, e3dge_local
from inverters.encoders.e3dge import E3DGE, E3DGEConfig
from inverters.encoders.e3dge_branch import BranchConfig
from inverters.encoders.e3dge_triplane import E3DGETriplane, E3DGETriplaneConfig
from inverters.encoders.psp import released_config
from inverters.errors import CheckpointError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.plain_pickle import shown
from inverters.generators.strict_loading import entry_or_all, fill, table_with, tensors_of
from inverters.generators.stylesdf import Codes, StyleSDF, load_stylesdf

NETWORKS = ("encoder", "netLocal", "grid_align", "Fuse_sft_block")
"""Entries of `E3DGE_Full_Runner.pt` that are read."""
_LEFT_OUT = ("iter", "d", "discriminator")
"""Its other entries, besides the optimisers' `*_optimizer`."""
_MEAN_DRAWS = 10_000
_ALIASED = ("conv2", "conv4")
"""Blocks of the hourglass whose norm `bn4` is the first layer of the shortcut under another name."""
_FILES = ("E3DGE's file", "StyleSDF's generator", "StyleSDF's pose network")


def load_e3dge(
    runner: object,
    generator: object,
    renderer: object,
    config: E3DGEConfig | None = None,
    means: Codes | None = None,
    what: tuple[str, str, str] = _FILES,
) -> E3DGE:
    """Return the network of three public files, as a safe reader gives them: eval mode, no gradients.

    Args:
        runner: of `E3DGE_Full_Runner.pt`: a table with an entry for each of E3DGE's own networks.
        generator: of `ffhq1024x1024.pt`: StyleSDF's generator, alone or under `g_ema`.
        renderer: of `ffhq_vol_renderer.pt`: StyleSDF's pose network, alone or under `d`.
        config: shapes and choices; the decoder head and the variant of the local branch follow the file.
        means: mean codes that the encoder's offsets are added to; None: those of 10,000 seeded draws.
        what: names of the three files in messages.

    Raises:
        CheckpointError: an entry is missing or unknown, or has other weights.
    """
    own, stylesdf_file, pose_file = what
    tensors = _networks(runner, own)
    config = _detected(config or E3DGEConfig(), tensors)
    stylesdf = load_stylesdf(generator, config.generator, stylesdf_file)
    means = seeded_means(stylesdf) if means is None else means
    with torch.device("meta"):
        network = E3DGE(config, stylesdf, means)
    branch = network.branch
    modules = (network.encoder, branch.local, branch.align, branch.fuse)
    unused = (e3dge_encoder.UNUSED_KEYS, e3dge_local.UNUSED_KEYS, (), ())
    for name, module, keys in zip(NETWORKS, modules, unused, strict=True):
        fill(module, tensors[name], f"{own}: its '{name}'", keys)
    fill(network.pose, tensors_of(entry_or_all(renderer, "d"), pose_file), pose_file)
    return network.requires_grad_(False).eval()


def load_e3dge_triplane(file: object, generator: Generator, what: str = "the file") -> E3DGETriplane:
    """Return the network for an EG3D generator of a file, as a safe reader gives it.

    No such weights are released. The container is the release's, E0 is pSp's GradualStyleEncoder, and the
    local branch has the public sizes, with the width of the generator's plane features.

    Raises:
        CheckpointError: an entry is missing or unknown, or has other weights, such as E3DGE's for StyleSDF.
        FingerprintError: the generator has other codes.
    """
    tensors = _networks(file, what)
    if any(name.startswith("styles_pigan.") for name in tensors["encoder"]):
        raise CheckpointError(
            f"{what} is E3DGE for StyleSDF, and '{generator.card.name}' is an EG3D generator; expected its "
            "'encoder' to be pSp's, with a network for each row of w+"
        )
    config = triplane_config(tensors, generator.config, what)
    config.check(generator.config)
    with torch.device("meta"):
        network = E3DGETriplane(config)
    branch = network.branch
    modules = (network.encoder, branch.local, branch.align, branch.fuse)
    for name, module, keys in zip(NETWORKS, modules, ((), e3dge_local.UNUSED_KEYS, (), ()), strict=True):
        fill(module, tensors[name], f"{what}: its '{name}'", keys)
    network.latent_avg = generator.backbone.mapping.w_avg.expand(network.latent_avg.shape).clone()
    return network.requires_grad_(False).eval()


def triplane_config(
    tensors: Mapping[str, Mapping[str, Tensor]], generator: GeneratorConfig, what: str
) -> E3DGETriplaneConfig:
    """Return the public sizes for a generator, with the rows and the variant that a file's names tell."""
    branch = BranchConfig(local=e3dge_local.LocalConfig(modulated=generator.plane_channels))
    branch = _with_variant(branch, tensors)
    return E3DGETriplaneConfig(released_config(tensors["encoder"], what), branch)


@torch.no_grad()
def seeded_means(generator: StyleSDF, seed: int = 0) -> Codes:
    """Return the generator's mean codes over 10,000 draws from a seed; the release draws others each time."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(_MEAN_DRAWS, generator.config.style_dim, generator=rng)
    return generator.mean_codes(z.to(next(generator.parameters())))


def _networks(runner: object, what: str) -> dict[str, dict[str, Tensor]]:
    """The networks' tensors by entry. Twin names of a norm are checked to agree."""
    table = table_with(runner, what, *NETWORKS)
    known = (*NETWORKS, *_LEFT_OUT)
    if extra := [name for name in table if name not in known and not str(name).endswith("_optimizer")]:
        raise CheckpointError(
            f"{what} has the unknown entry '{shown(extra[0])}'; expected {', '.join(NETWORKS)}"
        )
    tensors = {name: tensors_of(table[name], f"{what}: its '{name}'") for name in NETWORKS}
    _check_twins(tensors["netLocal"], what)
    return tensors


def _detected(config: E3DGEConfig, tensors: Mapping[str, Mapping[str, Tensor]]) -> E3DGEConfig:
    """The configuration with the decoder head and the variant of the local branch that the names tell."""
    head = any(name.startswith("styles_stylegan.") for name in tensors["encoder"])
    return dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, decoder_head=head),
        branch=_with_variant(config.branch, tensors),
    )


def _with_variant(branch: BranchConfig, tensors: Mapping[str, Mapping[str, Tensor]]) -> BranchConfig:
    """The sizes with the variant of the local branch that the names tell."""
    linear = "local_feat_to_tex_modulations_linear.weight" in tensors["netLocal"]
    local = dataclasses.replace(branch.local, variant="training" if linear else "released")
    return dataclasses.replace(branch, local=local)


def _check_twins(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise CheckpointError where the two names of one norm hold different values."""
    for block in _ALIASED:
        for end in ("weight", "bias"):
            first, second = (f"image_filter.{block}.{norm}.{end}" for norm in ("bn4", "downsample.0"))
            if first in tensors and second in tensors and not torch.equal(tensors[first], tensors[second]):
                raise CheckpointError(
                    f"{what}: its 'netLocal' has '{first}' and '{second}', which are one tensor, with "
                    "different values"
                )
