"""`--space`: what cannot be met is told before any stage, in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inverters.editing.direction_files import save_directions
from inverters.editing.directions import Direction, Directions
from inverters.fitting.p_files import beside, save_statistics
from inverters.fitting.p_space import generator_statistics
from inverters.generators.checkpoint import save_generator
from pipeline.commands import __main__ as cli
from tests.inverters.tiny import tiny_generator
from tests.pipeline.commands.test_cli import refused
from tests.pipeline.fakes import write_clip


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--space", "q+"], ("unknown latent space 'q+'", "z, z+, w, w+")),
        (["--inverter", "vive3d", "--space", "f/z+"], ("vive3d cannot fit codes in f/z+",)),
        (["--inverter", "w", "--space", "z+"], ("w cannot fit codes in z+; it takes f/w, f/z, w, z",)),
        (["--preset", "paper", "--space", "z+"], ("preset paper moves codes", "draft or fast")),
        (["--space", "f24/z+"], ("no block of resolution 24; it has 4, 8, 16",)),
        (["--space", "f16/z+"], ("resolution 16 is the backbone's last",)),
        (["--space", "z+", "--base-skip", "dropped"], ("has codes in z+, without a base code",)),
        (["--space", "f/z+", "--base-encoder", "e.safetensors"], ("e.safetensors", "no such file")),
        (["--space", "z+", "--base-encoder", "clip.mp4"], ("without a base code",)),
        (["--base-code", "follows", "--edit", "smile=1"], ("codes in w+ have no base code",)),
        (["--directions", "FILE", "--edit", "a=1"], ("direction is in z, but", "add --space z+")),
        (["--space", "p_n+"], ("statistics of P_N are of generator ffffffffffff",)),
    ],
)
def test_spaces_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], parts: tuple[str, ...]
) -> None:
    clip, generator = write_clip(tmp_path / "clip.mp4"), tmp_path / "tiny.safetensors"
    save_generator(generator, tiny_generator())
    other = replace(generator_statistics(tiny_generator(), 100), fingerprint="f" * 64)
    save_statistics(beside(generator), other)
    directions = Directions({"a": Direction(torch.ones(16), "", "", codes="z")})
    save_directions(tmp_path / "d.safetensors", directions)
    named = {"FILE": tmp_path / "d.safetensors", "clip.mp4": clip}
    words = [str(named.get(word, word)) for word in words]
    places = ("--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"))
    code = cli.process_video([str(clip), "--generator", str(generator), *places, *words])
    told = capfd.readouterr()
    refused((code, told.out, told.err), *parts)
    assert not (tmp_path / "out").exists()
