"""Official snapshots are read whole, and nothing in a file is ever run."""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.errors import CheckpointError
from inverters.generators.config import GeneratorConfig
from inverters.generators.eg3d import Generator
from inverters.generators.load import load_generator
from inverters.generators.unpickle import read_snapshot
from inverters.rendering.cameras import default_intrinsics, look_at
from tests.inverters.generators.snapshot import write_snapshot

TINY = GeneratorConfig(
    z_dim=16,
    w_dim=16,
    mapping_features=16,
    channel_base=64,
    channel_max=8,
    plane_resolution=16,
    plane_channels=4,
    img_resolution=128,
    neural_rendering_resolution=16,
    superresolution="2X",
    depth_resolution=6,
    depth_resolution_importance=6,
    camera_pivot=(0.0, 0.0, -0.06),
    white_back=False,
)


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(TINY).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def written(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("snapshot") / "g.pkl"
    write_snapshot(path, generator)
    return path.read_bytes()


def refused(path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        load_generator(path)
    assert "\n" not in str(caught.value)


def test_snapshot_round_trip(generator: Generator, written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "g.pkl"
    path.write_bytes(written)
    found = load_generator(path)
    assert found.config == TINY
    want = generator.state_dict()
    assert list(found.state_dict()) == list(want)
    assert all(torch.equal(v, want[k]) for k, v in found.state_dict().items())
    assert not any(p.requires_grad for p in found.parameters()) and not found.training
    ws = found.mapping(torch.zeros(1, 16))
    image = found.synthesis(ws, look_at(0.2, 0.0), default_intrinsics()).image
    again = generator.synthesis(
        generator.mapping(torch.zeros(1, 16)), look_at(0.2, 0.0), default_intrinsics()
    ).image
    assert torch.equal(image, again)
    assert found.card.name == "g" and len(found.card.fingerprint) == 64
    assert found.card.camera_rule.pivot == TINY.camera_pivot
    assert found.card.w_std.shape == (16,) and (found.card.w_std > 0).all()
    assert load_generator(path).card.fingerprint == found.card.fingerprint
    assert torch.equal(load_generator(path).card.w_std, found.card.w_std)


def test_axes_of_the_planes_are_an_option(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "g.pkl"
    path.write_bytes(written)
    assert load_generator(path, plane_axes="fixed").config.plane_axes == "fixed"
    with pytest.raises(CheckpointError, match="known: original, fixed"):
        load_generator(path, plane_axes="other")  # type: ignore[arg-type]


HOSTILE = {
    "system call": Call(os.system, "exit 3"),
    "eval": Call(builtins.eval, "1"),
    "getattr": Call(builtins.getattr, "", "join"),
    "torch load": Call(torch.load, "x"),
    "numpy object type": Call(
        np.core.multiarray.scalar, np.dtype("O"), pickle.dumps(Call(os.system, "true"))
    ),
    "numpy array": np.zeros(3),
    "path": Path("x"),
    "class of ours": Generator,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_foreign_names_are_refused_wherever_they_are(generator: Generator, tmp_path: Path, what: str) -> None:
    path = tmp_path / "g.pkl"
    places: list[Callable[[dict[str, Any], dict[str, Any]], None]] = [
        lambda state, top: top.update(G=HOSTILE[what]),
        lambda state, top: state.update(_last_planes=[{"a": (HOSTILE[what],)}]),
        lambda state, top: state["_buffers"].update(extra=HOSTILE[what]),
    ]
    for place in places:
        write_snapshot(path, generator, place)
        refused(path, "not a safe EG3D snapshot")


def test_code_inside_a_tensors_storage_is_refused(generator: Generator, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    inner = pickle.dumps(Call(os.system, f"touch {mark}"))
    path = tmp_path / "g.pkl"
    call = Call(torch.storage._load_from_bytes, inner)
    write_snapshot(path, generator, lambda state, top: state["_buffers"].update(extra=call))
    refused(path, "inside a tensor")
    assert not mark.exists()


def test_source_text_is_not_run(written: bytes, tmp_path: Path) -> None:
    assert b"was run" in written  # the file does carry source that would stop the tests
    path = tmp_path / "g.pkl"
    path.write_bytes(written)
    assert read_snapshot(path)["G_ema"].class_name == "TriPlaneGenerator"


def test_tensor_beyond_its_storage_is_refused(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "g.pkl"
    for size, stride in (((9,), (1,)), ((2, 2), (1, 9)), ((1 << 40,), (0,)), ((-1,), (1,))):
        call = Call(
            torch._utils._rebuild_tensor_v2,
            torch.storage.TypedStorage(
                wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
            ),
            0,
            size,
            stride,
            False,
            {},
        )
        write_snapshot(path, generator, lambda state, top, call=call: state["_buffers"].update(extra=call))
        refused(path, "beyond its storage|natural number")


def test_state_of_a_function_or_table_cannot_be_set(tmp_path: Path) -> None:
    path = tmp_path / "g.pkl"
    for module, name in ((b"torch._utils", b"_rebuild_parameter"), (b"torch.storage", b"_load_from_bytes")):
        path.write_bytes(b"\x80\x04c" + module + b"\n" + name + b"\n}\x8c\x01aK\x01sb.")
        refused(path, "state of a function")
    path.write_bytes(b"\x80\x04ccollections\nOrderedDict\n)R}\x8c\x01aK\x01sb.")
    refused(path, "state of a dictionary")


def test_modules_that_hold_themselves_are_refused(generator: Generator, tmp_path: Path) -> None:
    def loop(state: dict[str, Any], top: dict[str, Any]) -> None:
        nest: Any = None
        for _ in range(40):
            nest = type(top["G_ema"])(top["G_ema"].reconstruct, "X", {"_modules": {"a": nest, "b": nest}})
        state["_modules"]["deep"] = nest

    path = tmp_path / "g.pkl"
    write_snapshot(path, generator, loop)
    refused(path, "nested deeper")


def test_files_that_are_not_snapshots(written: bytes, generator: Generator, tmp_path: Path) -> None:
    refused(tmp_path / "absent.pkl", "there is no generator")
    path = tmp_path / "g.pkl"
    path.write_bytes(b"")
    refused(path, "damaged")
    path.write_text("hello, this is text")
    refused(path, "damaged|not a safe")
    path.write_bytes(pickle.dumps({"state_dict": {}}))
    refused(path, "has no network 'G_ema'")
    torch.save({"a": torch.zeros(2)}, path)
    refused(path, "damaged|not a safe")
    for share in (0.1, 0.5, 0.95):
        path.write_bytes(written[: int(len(written) * share)])
        refused(path, "damaged")


def test_generators_of_another_kind_are_refused(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "g.pkl"

    def rendering(**values: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
        return lambda state, top: state["rendering_kwargs"].update(values)

    write_snapshot(path, generator, rendering(superresolution_module="training.superresolution.Deconv"))
    refused(path, "'Deconv' is not known")
    write_snapshot(path, generator, rendering(ray_start="auto"))
    refused(path, "automatic ray limits")
    write_snapshot(path, generator, rendering(disparity_space_sampling=True))
    refused(path, "disparity")
    write_snapshot(path, generator, lambda state, top: state.pop("neural_rendering_resolution"))
    refused(path, "not a complete EG3D generator")
    write_snapshot(path, generator, lambda state, top: state["_parameters"].update(extra=torch.zeros(2)))
    refused(path, "1 unknown, .* first 'extra'")


@settings(max_examples=150)
@given(data=st.data())
def test_damage_is_an_error_of_ours_or_is_harmless(written: bytes, data: st.DataObject) -> None:
    """Any one byte changed: read as a snapshot, or refused with CheckpointError, never another error."""
    at = data.draw(st.one_of(st.integers(0, 4000), st.integers(0, len(written) - 1)))
    byte = data.draw(st.integers(0, 255))
    changed = written[:at] + bytes([byte]) + written[at + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.pkl"
        path.write_bytes(changed)
        with contextlib.suppress(CheckpointError):
            read_snapshot(path)["G_ema"].tensors()
