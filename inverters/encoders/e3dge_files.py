"""Loader of E3DGE's released files: state dicts by network, or the files themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverters.encoders import e3dge_local, fpn
from inverters.encoders.e3dge import E3DGE, E3DGEConfig
from inverters.errors import CheckpointError
from inverters.generators.plain_pickle import shown
from inverters.generators.strict_loading import load_strictly, plain_state
from inverters.generators.stylesdf import Codes, StyleSDF, load_stylesdf
from inverters.generators.torch_file import read_torch_file

NETWORKS = ("encoder", "netLocal", "grid_align", "Fuse_sft_block")
"""Entries of `E3DGE_Full_Runner.pt` that are read."""
_LEFT_OUT = ("iter", "d", "discriminator")
"""Its other entries, besides the optimisers' `*_optimizer`."""
_MEAN_DRAWS = 10_000
_ALIASED = ("conv2", "conv4")


def read_e3dge(runner: Path, generator: Path, renderer: Path, config: E3DGEConfig | None = None) -> E3DGE:
    """Return the network of `E3DGE_Full_Runner.pt`, `ffhq1024x1024.pt` and `ffhq_vol_renderer.pt`.

    Raises:
        CheckpointError: a file is unreadable, unsafe or damaged, or has another layout.
    """
    own, stylesdf, pose = (read_torch_file(path) for path in (runner, generator, renderer))
    return load_e3dge(own, stylesdf, pose, config)


def load_e3dge(
    runner: Mapping[str, Any],
    generator: Mapping[str, Any],
    renderer: Mapping[str, Any],
    config: E3DGEConfig | None = None,
    means: Codes | None = None,
) -> E3DGE:
    """Return the network of three released tables, in eval mode.

    Args:
        runner: E3DGE's own networks, one an entry.
        generator: StyleSDF's generator, or a table with `g_ema`.
        renderer: StyleSDF's pose network, or a table with `d`.
        config: shapes and choices; the decoder head and the variant of the local branch follow the keys.
        means: mean codes that the encoder's offsets are added to; None: those of 10,000 seeded draws.

    Raises:
        CheckpointError: an entry is missing or unknown, or has another layout.
    """
    tables = _tables(runner)
    config = _detected(config or E3DGEConfig(), tables)
    stylesdf = load_stylesdf(generator, config.generator)
    network = E3DGE(config, stylesdf, seeded_means(stylesdf) if means is None else means)
    branch = network.branch
    load_strictly(network.encoder, tables["encoder"], "E3DGE's 'encoder'", fpn.UNUSED_KEYS)
    load_strictly(branch.local, tables["netLocal"], "E3DGE's 'netLocal'", e3dge_local.UNUSED_KEYS)
    load_strictly(branch.align, tables["grid_align"], "E3DGE's 'grid_align'")
    load_strictly(branch.fuse, tables["Fuse_sft_block"], "E3DGE's 'Fuse_sft_block'")
    pose = renderer["d"] if isinstance(renderer, Mapping) and "d" in renderer else renderer
    load_strictly(network.pose, pose, "StyleSDF's pose network")
    return network.eval()


@torch.no_grad()
def seeded_means(generator: StyleSDF, seed: int = 0) -> Codes:
    """Return the generator's mean codes over 10,000 draws from a seed; the release draws others each time."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(_MEAN_DRAWS, generator.config.style_dim, generator=rng)
    return generator.mean_codes(z.to(next(generator.parameters())))


def _tables(runner: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The networks' state dicts by entry, without `module.`; twin names of a norm are checked to agree."""
    what = "E3DGE's file"
    if not isinstance(runner, Mapping):
        raise CheckpointError(f"{what}: expected a table of networks, found {type(runner).__name__}")
    if missing := [name for name in NETWORKS if name not in runner]:
        raise CheckpointError(f"{what}: expected {', '.join(NETWORKS)}; missing: {', '.join(missing)}")
    known = (*NETWORKS, *_LEFT_OUT)
    if extra := [k for k in runner if k not in known and not str(k).endswith("_optimizer")]:
        raise CheckpointError(f"{what}: expected {', '.join(NETWORKS)}; unknown: '{shown(str(extra[0]))}'")
    tables = {}
    for name in NETWORKS:
        tables[name] = plain_state(runner[name], f"E3DGE's '{name}'")
    _check_twins(tables["netLocal"])
    return tables


def _detected(config: E3DGEConfig, tables: Mapping[str, Mapping[str, Any]]) -> E3DGEConfig:
    """The configuration with the decoder head and the variant of the local branch that the keys tell."""
    head = any(key.startswith("styles_stylegan.") for key in tables["encoder"])
    linear = "local_feat_to_tex_modulations_linear.weight" in tables["netLocal"]
    local = dataclasses.replace(config.branch.local, variant="training" if linear else "released")
    return dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, decoder_head=head),
        branch=dataclasses.replace(config.branch, local=local),
    )


def _check_twins(table: Mapping[str, Any]) -> None:
    """Raise CheckpointError where the two names of one norm hold different values."""
    for block in _ALIASED:
        for end in ("weight", "bias"):
            names = (f"image_filter.{block}.bn4.{end}", f"image_filter.{block}.downsample.0.{end}")
            if all(name in table for name in names) and not _same(*(table[name] for name in names)):
                raise CheckpointError(
                    f"E3DGE's 'netLocal': '{names[0]}' and '{names[1]}' are one tensor and differ"
                )


def _same(first: object, second: object) -> bool:
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or first.shape != second.shape:
        return False
    return bool((first == second).all())
