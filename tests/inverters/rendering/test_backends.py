"""Which renderer runs, what it says where it cannot, and how it is built."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inverters.errors import RendererError
from inverters.rendering import backends, build
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.rendering.fields import Decoder, Field
from inverters.rendering.fused import render_rays
from inverters.rendering.rays import make_rays
from inverters.rendering.sampling import Sampling
from tests.inverters.rendering.cases import (
    Case,
    Scene,
)

BUILT = build.library_path("cpu")
pytestmark = pytest.mark.skipif(
    not BUILT.exists(), reason="no compiled CPU renderer (no C++ compiler at install)"
)


# Choosing


def test_widths_that_are_not_compiled_say_which_are(caplog: pytest.LogCaptureFixture) -> None:
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    field = Field(normal(1, 3, 5, 8, 8), Decoder(normal(7, 5), normal(7), normal(4, 7), normal(4)))
    rays = make_rays(look_at(0.0, 0.0), default_intrinsics(), (2, 3))
    with pytest.raises(RendererError, match=r"5-7-3, only for 32-64-3, 32-64-32"):
        render_rays(field, *rays, Sampling(), backend="cpu")
    backends._say_once.cache_clear()
    with caplog.at_level("WARNING"):
        found = [render_rays(field, *rays, Sampling(), backend="auto").features for _ in range(2)]
    assert torch.equal(found[0], render_rays(field, *rays, Sampling(), backend="reference").features)
    assert len([r for r in caplog.records if "plain torch" in r.message]) == 1


def test_without_the_library_the_reference_renders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "_here", tmp_path)
    backends.library.cache_clear()
    backends._say_once.cache_clear()
    try:
        scene = Scene(Case(two=True))
        with caplog.at_level("WARNING"):
            auto, reference = scene.run("auto"), scene.run("reference")
        assert torch.equal(auto[0]["features"], reference[0]["features"])
        assert "not built" in caplog.text
        with pytest.raises(RendererError, match="not built"):
            scene.run("cpu")
        assert backends.describe()["picked"].startswith("reference")
        (tmp_path / BUILT.name).write_bytes(b"not a library")
        backends.library.cache_clear()
        with pytest.raises(RendererError, match="not usable"):
            scene.run("cpu")
    finally:
        backends.library.cache_clear()


def test_a_renderer_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(Case())
    with backends.using("reference"):
        asked = backends.requested()
        assert asked == "reference" and backends.describe()["picked"] == "reference (asked for)"
    monkeypatch.setenv("INVID_RENDERER", "reference")
    assert backends.requested() == "reference"
    monkeypatch.setenv("INVID_RENDERER", "fastest")
    with pytest.raises(RendererError, match="'fastest'; known: auto, cuda, cpu, reference"):
        backends.requested()
    with pytest.raises(RendererError, match="unknown renderer"):
        backends.request("gpu")
    with pytest.raises(RendererError, match="on cpu"):
        scene.run("cuda")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: (1, 3, 32, 8, 9)}, "planes must be"),
        ({0: (2, 3, 32, 8, 8)}, "planes must be"),
        ({1: (64, 31)}, "decoder of"),
        ({3: (5, 64)}, "decoder of"),
        ({6: (1, 35, 2)}, "rays need"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[int, tuple[int, ...]], message: str) -> None:
    shapes = [(1, 3, 32, 8, 8), (64, 32), (64,), (4, 64), (4,), (1, 35, 3), (1, 35, 3)]
    leaves = [torch.randn(change.get(place, shape)) for place, shape in enumerate(shapes)]
    with pytest.raises(ValueError, match=message):
        Scene(Case()).render(leaves, "cpu")


def test_numbers_of_two_kinds_do_not_mix() -> None:
    leaves = Scene(Case()).leaves
    leaves[0] = leaves[0].float()
    with pytest.raises(ValueError, match="must be alike"):
        Scene(Case()).render(leaves, "cpu")


@pytest.mark.parametrize(("coarse", "fine"), [(1, 0), (3, 1), (8, -1)])
def test_too_few_samples(coarse: int, fine: int) -> None:
    with pytest.raises(ValueError, match="a ray needs"):
        Sampling(coarse=coarse, fine=fine)


# Building


def test_without_a_compiler_building_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    for name in ("CXX", "NVCC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    with pytest.raises(build.BuildError, match=r"no C\+\+ compiler"):
        build.build("cpu")
    assert build.main(["cpu", "cuda"]) == 1
    assert "no nvcc was found" in capsys.readouterr().err


def test_a_failed_build_leaves_the_old_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "libinvid_cpu.so"
    target.write_bytes(b"the old one")
    failing = tmp_path / "g++"
    failing.write_text("#!/bin/sh\necho 'no such header' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CXX", str(failing))
    with pytest.raises(build.BuildError, match="no such header"):
        build.build("cpu", target)
    assert target.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 2
