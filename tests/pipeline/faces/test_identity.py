"""Embeddings of faces: alignment, which files are known, and that nothing in a file is run."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pipeline.errors import UserError
from pipeline.faces.embedder_layouts import (
    _IR_BLOCKS,
    ARCFACE,
    MOBILEFACENET,
    _ir_convolutions,
    onnx_layout,
)
from pipeline.faces.identity import SIZE, TEMPLATE, FaceEmbedder, align_face, load_embedder, similarity
from pipeline.faces.mediapipe_mesh import MediaPipeMesh
from pipeline.faces.mobilefacenet import MobileFaceNet
from tests.pipeline.faces.faces_data import landmarks_at, real_file, real_frames


def network(seed: int = 0) -> MobileFaceNet:
    torch.manual_seed(seed)
    return MobileFaceNet().eval()


@settings(max_examples=50)
@given(st.floats(-3.0, 3.0), st.floats(0.1, 8.0), st.floats(-500, 500), st.floats(-500, 500))
def test_a_similarity_is_found_again(angle: float, scale: float, x: float, y: float) -> None:
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    true = np.array([[a, -b, x], [b, a, y]])
    moved = TEMPLATE @ true[:, :2].T + true[:, 2]
    np.testing.assert_allclose(similarity(TEMPLATE, moved), true, atol=1e-8)


def test_no_other_similarity_comes_nearer() -> None:
    rng = np.random.default_rng(0)
    points, target = rng.standard_normal((2, 5, 2))
    best = similarity(points, target)

    def error(m: np.ndarray) -> float:
        return float(np.square(points @ m[:, :2].T + m[:, 2] - target).sum())

    for _ in range(50):
        a, b, x, y = 0.05 * rng.standard_normal(4)
        assert error(best + np.array([[a, -b, x], [b, a, y]])) > error(best)


@pytest.mark.parametrize("roll", [-40, 0, 25])
def test_a_rolled_face_is_aligned_to_the_template(roll: int) -> None:
    """Five bright spots, wherever they stand, come to ArcFace's places."""
    angle = math.radians(roll)
    turn = 1.7 * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    five = (TEMPLATE - 56) @ turn.T + (200, 150)
    y, x = np.mgrid[:300, :400] + 0.5
    frame = np.zeros((300, 400, 3))
    for point in five:
        frame += 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 4.0**2))[..., None]
    face = align_face(frame.clip(0, 255).astype(np.uint8), landmarks_at(five))[..., 0].astype(float)
    assert face.shape == (SIZE, SIZE)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    for point in TEMPLATE:
        near = np.where((x - point[0]) ** 2 + (y - point[1]) ** 2 < 6**2, face, 0)
        found = np.array([(x * near).sum(), (y * near).sum()]) / near.sum()
        np.testing.assert_allclose(found, point, atol=0.3)


def test_a_network_sees_rgb_on_the_scale_of_its_layout() -> None:
    image = np.tile(np.array([250, 100, 10], np.uint8), (SIZE, SIZE, 1))
    points = landmarks_at(TEMPLATE)
    seen = {
        layout.name: FaceEmbedder(layout, lambda x: x.mean((2, 3))).embed([image], [points])[0]
        for layout in (MOBILEFACENET, ARCFACE)
    }
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (np.array([250, 100, 10]) / 255 - mean) / deviation
    np.testing.assert_allclose(seen["MobileFaceNet"], wanted, atol=1e-4)
    np.testing.assert_allclose(seen["ArcFace"], (np.array([250, 100, 10]) - 127.5) / 127.5, atol=1e-5)


def test_faces_go_through_in_order_and_none_is_nothing() -> None:
    images = [np.full((SIZE, SIZE, 3), level, np.uint8) for level in range(40)]
    embedder = FaceEmbedder(ARCFACE, lambda x: x.mean((2, 3)) * 127.5 + 127.5)
    found = embedder.embed(iter(images), [landmarks_at(TEMPLATE)] * 40)
    np.testing.assert_allclose(found, np.arange(40)[:, None].repeat(3, 1), atol=1e-3)
    assert len(embedder.embed([], [])) == 0


@pytest.mark.parametrize("kind", ["pt", "pth", "safetensors", "module.", "state_dict"])
def test_a_state_dict_is_read_in_every_usual_wrapping(kind: str, tmp_path: Path) -> None:
    net = network()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    path = tmp_path / f"net.{'safetensors' if kind == 'safetensors' else 'pth' if kind == 'pth' else 'pt'}"
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "module.":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if kind == "state_dict" else state, path)
    embedder = load_embedder(path)
    image = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        pixels = (torch.from_numpy(image) / 255 - mean) / deviation
        wanted = net(pixels.permute(2, 0, 1)[None])[0].numpy()
    np.testing.assert_allclose(embedder.embed([image], [landmarks_at(TEMPLATE)])[0], wanted, atol=1e-4)


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def refused(path: Path, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load_embedder(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    assert caught.value.exit_code == 2


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", "no such file")
    torch.save({"conv1.0.weight": torch.zeros(3)}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "MobileFaceNet.*IR-100")
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", "MobileFaceNet.*IR-100")
    torch.save({"state_dict": [1]}, tmp_path / "numbers.pt")
    refused(tmp_path / "numbers.pt", "MobileFaceNet.*IR-100")
    for name in ("cut.pt", "cut.safetensors", "cut.bin", "cut.onnx"):
        (tmp_path / name).write_bytes(b"\x8f" * 40)
        refused(tmp_path / name, "known|cannot be read")
    torch.save(network().state_dict(), tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "half.pt", "damaged")


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"state_dict": _Evil()}, tmp_path / "evil.pt")
    refused(tmp_path / "evil.pt", "more than a state dict")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Evil(), protocol=2))
    refused(tmp_path / "plain.pt", "more than a state dict")


def test_torchscript_is_a_program_and_is_refused(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 4, 4)).save(str(tmp_path / "script.pt"))
    refused(tmp_path / "script.pt", "TorchScript")


def onnx_model(nodes: Iterable[tuple[str, tuple[int, ...]]]) -> bytes:
    """A model whose nodes (operator, shape of their weight, () for none) follow each other."""
    made, stored = [], []
    for k, (operator, shape) in enumerate(nodes):
        made.append(onnx.helper.make_node(operator, ["x", f"w{k}"] if shape else ["x"], ["x"]))
        if shape:
            stored.append(onnx.TensorProto(name=f"w{k}", dims=shape, data_type=onnx.TensorProto.FLOAT))
    return onnx.helper.make_model(onnx.helper.make_graph(made, "net", [], [], stored)).SerializeToString()


def arcface(depth: str) -> list[tuple[str, tuple[int, ...]]]:
    return [*(("Conv", s) for s in _ir_convolutions(_IR_BLOCKS[depth])), ("Gemm", (512, 25088))]


@cache
def mobilefacenet() -> list[tuple[str, tuple[int, ...]]]:
    return [("Conv", tuple(v.shape)) for v in MobileFaceNet().state_dict().values() if v.ndim == 4]


def test_the_layout_of_an_onnx_file_is_told_by_its_weights() -> None:
    def told(nodes):
        return onnx_layout(onnx_model(nodes))

    assert told(mobilefacenet()) == MOBILEFACENET
    assert told(arcface("IR-50")) == told([("Identity", ()), *arcface("IR-100")]) == ARCFACE
    assert told(mobilefacenet()[:-1]) is None
    assert told(arcface("IR-50")[:-1]) is None
    # one that scales its own pixels would be given them scaled twice
    assert told([("Sub", ()), ("Mul", ()), *arcface("IR-100")]) is None
    assert told([("Relu", ())]) is None


def test_ir_networks_have_as_many_weights_as_they_are_known_for() -> None:
    """43.6 and 65.2 million, less than 0.1 of them in norms and slopes, which are not looked at."""
    for depth, millions in (("IR-50", 43.6), ("IR-100", 65.2)):
        assert sum(math.prod(shape) for _, shape in arcface(depth)) / 1e6 == pytest.approx(millions, abs=0.15)


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 2000))
def test_a_damaged_onnx_file_is_a_value_error_or_nothing_known(noise: bytes, at: int) -> None:
    whole = onnx_model(mobilefacenet())
    for data in (noise, whole[:at], whole[:at] + noise + whole[at + len(noise) :]):
        try:
            assert onnx_layout(data) in (None, MOBILEFACENET)
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_an_onnx_file_without_its_packages_says_what_to_install(package, tmp_path: Path, monkeypatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name, *rest):
        if name == package:
            raise ImportError(name)
        return real(name, *rest)

    (tmp_path / "net.onnx").write_bytes(onnx_model(mobilefacenet()))
    monkeypatch.setattr(builtins, "__import__", without)
    refused(tmp_path / "net.onnx", rf"need {package}; pip install 'invid\[identity\]'")
    (tmp_path / "other.onnx").write_bytes(onnx_model([("Conv", (1, 3, 3, 3))]))
    refused(tmp_path / "other.onnx", "need onnx;" if package == "onnx" else "MobileFaceNet.*IR-100")


def test_onnx_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(onnx_model([("Conv", (1, 3, 3, 3))]))
    refused(tmp_path / "other.onnx", "MobileFaceNet.*IR-100")
    (tmp_path / "empty.onnx").write_bytes(b"")
    refused(tmp_path / "empty.onnx", "it holds no network")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate((1 << 30) + 1)
    refused(tmp_path / "large.onnx", "larger than 1 GiB")


def test_an_onnx_file_cannot_refer_to_others(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(onnx_model(mobilefacenet()))
    for tensor in model.graph.initializer:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    (tmp_path / "weights.bin").write_bytes(b"\0" * (1 << 20))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "net.onnx", "onnxruntime cannot load it")


@pytest.mark.weights
def test_a_torch_file_and_its_onnx_export_say_the_same() -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime (the extra `identity`) is not installed")
    folder = real_file("networks/face_id")
    images = real_frames("retalking_1.mp4", every=60, most=2)
    points = [landmarks_at(TEMPLATE * 3 + 150)] * len(images)
    one, two = (
        load_embedder(folder / f"mobilefacenet_foamliu{kind}").embed(images, points)
        for kind in ("_cpu.pt", ".onnx")
    )
    np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.weights
def test_people_on_real_clips_are_themselves_and_nobody_else() -> None:
    """Near what was measured of this network: 0.86 within a clip, 0.02 and at most 0.36 between people."""
    embedder = load_embedder(real_file("networks/face_id/mobilefacenet_foamliu_cpu.pt"))
    mesh = MediaPipeMesh()
    people = {}
    for name, every in (
        ("fsgan_conan_obrien.mp4", 25),
        ("intel_head-pose-face-detection-male.gif", 12),
        ("liveportrait_d18.mp4", 40),
        ("liveportrait_s29.mp4", 30),
        ("retalking_1.mp4", 25),
    ):
        frames, points = [], []
        for frame in real_frames(name, every):
            for face in mesh.detect(frame)[:1]:
                frames.append(frame)
                points.append(face.landmarks68)
        found = embedder.embed(frames, points)
        people[name] = found / np.linalg.norm(found, axis=1, keepdims=True)
    mesh.close()
    within = [cosines(a, a)[~np.eye(len(a), dtype=bool)].mean() for a in people.values()]
    between = np.concatenate([cosines(*pair).ravel() for pair in itertools.combinations(people.values(), 2)])
    assert np.mean(within) == pytest.approx(0.86, abs=0.05)
    assert between.mean() == pytest.approx(0.02, abs=0.05)
    assert between.max() < 0.4 < min(within)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ b.T
