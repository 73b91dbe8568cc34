"""Valid files that cases are made from: CARRIERS/KIND/VARIANT/{inputs,work}/..., small and made once a run.

The file or folder that a reader is given is called `main`, with its ending; `main.json` beside
`main.safetensors` belongs to it. In `work` are caches, in which a reader may write.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fuzz_clips import HEIGHT, WIDTH, clips, sound_clips

FRAMES = 10


def masks(folder: Path) -> None:
    """Folders of masks: 8 bits, 16 bits, palettes with alpha, other formats."""
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[10:30, 20:40] = 0
    picture = Image.fromarray(mask)
    forms = {
        "grey.png": picture,
        "bits16.png": Image.fromarray(mask.astype(np.uint16) * 257),
        "alpha.png": Image.merge("LA", (picture, Image.new("L", picture.size, 255))),
        "palette.png": picture.convert("P"),
        "colour.jpg": picture.convert("RGB"),
        "grey.tiff": picture,
        "bit.bmp": picture.convert("1"),
        "lossy.webp": picture.convert("RGB"),
    }
    for name, image in forms.items():
        main = folder / name / "inputs" / "main"
        main.mkdir(parents=True)
        for number in range(4):
            image.save(main / f"{number:05d}{Path(name).suffix}")


def side_files(folder: Path) -> None:
    """`main.yaml` beside `main.mp4`, with the files that it names."""
    texts = {
        "many": "preset: draft\nedit: [smile=1.5, 'age=1@0-0.2s']\nremove_occluder: true\nseed: 3\n"
        "view: yaw=0.3\nmax_frames: 4\nsmoothing_window: 2.5\nquality: 20\n"
        "feather: 0.1\ncodec: hevc\nease: 0.1\nsteps: 4\n",
        "paths": "occluder_masks: masks\ndirections: [a.npy, b.npy]\ncameras: dataset.json\n"
        "generator: g.pkl\n",
        "json": '{"preset": "draft", "edit": ["smile=1"], "stitch": true, "max-gap": 1}',
    }
    for name, text in texts.items():
        made = folder / name / "inputs"
        made.mkdir(parents=True)
        (made / "main.yaml").write_text(text)
        (made / "main.mp4").write_bytes(b"no clip is read here")
        for other in ("a.npy", "b.npy", "dataset.json", "g.pkl"):
            (made / other).write_bytes(b"x")
        (made / "masks").mkdir()
        (made / "masks" / "0.png").write_bytes(b"x")


def settings_files(folder: Path) -> None:
    """Files for --settings."""
    side_files(folder)
    for made in list(folder.iterdir()):
        if made.name == "json":
            (made / "inputs" / "main.yaml").rename(made / "inputs" / "main.json")


def cameras(folder: Path) -> None:
    """EG3D's dataset.json: with and without numbers in its names, and with mirrored copies."""
    import torch

    from inverters.rendering.cameras import default_intrinsics, look_at

    poses = look_at(torch.linspace(-0.2, 0.2, FRAMES), torch.zeros(FRAMES))
    numbers = torch.cat(
        [poses.reshape(FRAMES, 16), default_intrinsics(FRAMES).reshape(FRAMES, 9)], 1
    ).tolist()
    for form in ("frame{:04d}.png", "{}_x.png", "img{:05d}.png"):
        labels = [[form.format(n), row] for n, row in enumerate(numbers)]
        labels += [[f"img{n:05d}_mirror.png", row] for n, row in enumerate(numbers)] if "img" in form else []
        made = folder / re.sub(r"\W", "", form) / "inputs"
        made.mkdir(parents=True)
        (made / "main.json").write_text(json.dumps({"labels": labels}))


def generators(folder: Path) -> None:
    """A small generator in our own form, and as an official snapshot."""
    import torch

    from inverters.generators.checkpoint import save_generator
    from inverters.generators.eg3d import Generator
    from tests.inverters.generators.snapshot import write_snapshot
    from tests.inverters.tiny import CONFIG, tiny_generator

    own, official = folder / "own" / "inputs", folder / "official" / "inputs"
    official.mkdir(parents=True)
    save_generator(own / "main.safetensors", tiny_generator(("smile", "age")))
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, c_dim=25, channel_base=64, img_resolution=128, superresolution="2X")
    write_snapshot(official / "main.pkl", Generator(config))


def directions(folder: Path) -> None:
    """Directions in all forms that are read."""
    import torch
    from safetensors.torch import save_file

    from inverters.editing.direction_files import save_directions
    from inverters.editing.directions import Direction, Directions
    from inverters.generators.load import BUNDLED

    rng = np.random.default_rng(0)
    step, basis = (rng.normal(size=shape).astype(np.float32) for shape in ((512,), (4, 1, 512)))
    card = json.loads(BUNDLED.with_suffix(".json").read_text())
    makers: dict[str, Callable[[Path], Any]] = {
        "step.npy": lambda path: np.save(path, step),
        "table.npz": lambda path: np.savez(path, smile=step, age=basis),
        "packed.npz": lambda path: np.savez_compressed(path, comp=basis[:, 0], std=step[:4]),
        "tensor.pt": lambda path: torch.save({"smile": torch.from_numpy(step)}, path),
        "old.pt": lambda path: torch.save(torch.from_numpy(step), path, _use_new_zipfile_serialization=False),
        "plain.safetensors": lambda path: save_file({"smile": torch.from_numpy(step)}, path),
        "own.safetensors": lambda path: save_directions(
            path, Directions({"smile": Direction(torch.from_numpy(step), "u", "m")}, card["fingerprint"], "x")
        ),
    }
    for name, make in makers.items():
        made = folder / name / "inputs"
        made.mkdir(parents=True)
        make(made / f"main{Path(name).suffix}")


def caches(folder: Path) -> None:
    """A cache with a result, checkpoints, an ingested file and costs; and the same behind a shared store."""
    from storage import SharedStore, StageCache, stage_key

    for name in ("local", "shared"):
        work = folder / name / "work"
        work.mkdir(parents=True)
        shared = SharedStore(f"file://{work / 'store'}") if name == "shared" else None
        cache = StageCache(work / "cache", label="clip.mp4", shared=shared)
        key = stage_key("invert", 1, {}, [])
        with cache.begin(key) as writer:
            writer.put("codes", np.arange(96, dtype=np.float32).reshape(4, 24))
            writer.put("one", np.array(1.5))
            rows = writer.array("rows", (4, 6, 6, 3), np.uint8)
            rows.write(np.arange(4 * 108, dtype=np.uint8).reshape(4, 6, 6, 3))
            writer.file("note.txt").write_text("a note")
            writer.meta |= {"history": {"loss": [1.0, 0.5]}, "notes": ["x"]}
            writer.publish()
        _checkpoint(work / "cache" / "checkpoints" / stage_key("finetune", 1, {}, []))
        cost = {"like": "invert x", "units": 4, "seconds": 1.0, "mib": 10.0}
        (work / "cache" / "costs.jsonl").write_text(json.dumps(cost) + "\n" + json.dumps(cost) + "\n")
        (work / "cache" / "ingest").mkdir()
        (work / "cache" / "ingest" / f"ingest-{'0' * 24}.mkv").write_bytes(b"x")
        _timeless(work / "cache")
        if name == "shared":
            _put_timeless(work / "store" / "results", work / "cache" / key)
            shutil.rmtree(work / "cache" / key)


def _timeless(cache: Path) -> None:
    """Take times and the machine's name out of the manifests, so that a case is the same in every run."""
    from storage.layout import seal

    for path in cache.glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["about"] |= {"made": "2024-01-01T00:00:00Z", "host": "here", "seconds": 0.5, "bytes": 4096}
        manifest["seal"] = seal(manifest)
        path.write_text(json.dumps(manifest, indent=1))


def _put_timeless(store: Path, result: Path) -> None:
    """The same of a result in a shared store."""
    for path in store.iterdir():
        path.unlink()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(p for p in result.rglob("*") if p.is_file()):
            info = tarfile.TarInfo(path.relative_to(result).as_posix())
            info.size = path.stat().st_size
            archive.addfile(info, io.BytesIO(path.read_bytes()))
    name = f"{result.name}.000000000000.tar"
    (store / name).write_bytes(packed.getvalue())
    entry = {"object": name, "sha256": hashlib.sha256(packed.getvalue()).hexdigest(), "bytes": packed.tell()}
    (store / f"{result.name}.json").write_text(json.dumps(entry))


def _checkpoint(folder: Path) -> None:
    import torch

    from inverters.fitting.checkpoints import Checkpoint, CheckpointStore

    store = CheckpointStore(folder, {"method": "w"})
    for step in (1, 2):
        store.save(Checkpoint({"ws": torch.ones(2, 4) * step}, {"step": step, "history": {"loss": [1.0]}}))


def results(folder: Path) -> None:
    """A finished job with its cache, and the sample that it is scored against; folders of a watcher."""
    from tests.pipeline.known_sample import SMILE, flat, write_known_sample, write_result

    made = folder / "job"
    (made / "inputs").mkdir(parents=True)
    (made / "work").mkdir()
    sample = write_known_sample(made / "inputs")
    videos = {"removal": flat(120, 110), "removal_edited": flat(140, 130)}
    with contextlib.chdir(made / "inputs"):  # keys hold the path
        write_result(Path("main"), sample, videos, edits=[SMILE])
    out = made / "inputs" / "main"
    shutil.move(out / "cache", made / "work" / "cache")
    _timeless(made / "work" / "cache")
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["cache"]["root"], manifest["input"]["path"] = "@WORK@/cache", "@INPUTS@/clip.mp4"
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1))


def ledgers(folder: Path) -> None:
    """Records of a watcher in its output folder."""
    from pipeline.watch.ledger import Ledger

    work = folder / "out" / "work"
    work.mkdir(parents=True)
    ledger = Ledger(work / "out")
    for number, state in enumerate(("done", "", "submitted")):
        record = ledger.new(f"{number}" * 64, ["--seed=1"], Path(f"clip{number}.mp4"))
        ledger.write(
            record if not state else type(record)(**(record.__dict__ | {"state": state, "run": "r"}))
        )
    ledger.fail(ledger.new("f" * 64, [], Path("bad.mp4")), "it is cut off")
    entry = {"print": {"inode": 1, "size": 2, "mtime_ns": 3}, "content": "0" * 64}
    for path in work.rglob("*.json"):
        path.write_text(re.sub(r'"when": [\d.]+', '"when": 1.5', path.read_text()))
    (work / "out" / ".invid" / "index.json").write_text(json.dumps({"clip0.mp4": entry}))


def networks(folder: Path) -> None:
    """Weights of face networks: MobileFaceNet's in two forms, and 3DDFA_V2's folder."""
    import torch
    from safetensors.torch import save_file

    from pipeline.faces.mobilefacenet import MobileFaceNet
    from pipeline.faces.tddfa import MobileNetHalf

    torch.manual_seed(0)
    weights = MobileFaceNet().state_dict()
    made = folder / "state.pth" / "inputs"
    made.mkdir(parents=True)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in weights.items()}}, made / "main.pth"
    )
    made = folder / "state.safetensors" / "inputs"
    made.mkdir(parents=True)
    save_file(weights, made / "main.safetensors")
    main = folder / "tddfa" / "inputs" / "main"
    main.mkdir(parents=True)
    torch.save({"state_dict": MobileNetHalf().state_dict()}, main / "mb05_120x120.pth")
    scaling = {"mean": np.zeros(62, np.float32), "std": np.ones(62, np.float32)}
    (main / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(scaling, protocol=4))
    for name, width in (("u_base", 1), ("w_shp_base", 40), ("w_exp_base", 10)):
        np.save(main / f"{name}.npy", np.zeros((204, width), np.float32))


MAKERS: dict[str, Callable[[Path], None]] = {
    "clips": clips,
    "sound": sound_clips,
    "masks": masks,
    "side files": side_files,
    "settings": settings_files,
    "cameras": cameras,
    "generators": generators,
    "directions": directions,
    "caches": caches,
    "results": results,
    "ledgers": ledgers,
    "networks": networks,
}
"""What makes the carriers of a kind."""


def make_all(folder: Path) -> None:
    """All carriers; in a process of its own, since the libraries that write them start threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for kind, make in MAKERS.items():
        (folder / kind).mkdir(parents=True)
        make(folder / kind)
    for path in (p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".safetensors":
            _in_order(path)
        elif path.name in ("main.pkl", "main.pt"):
            _without_addresses(path)


def _in_order(path: Path) -> None:
    """Sort the texts in the header of a file, which have another order in each run."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def _without_addresses(path: Path) -> None:
    """Number the storages of torch's old form, which are named by where they lay in memory."""
    data = path.read_bytes()
    found = dict.fromkeys(re.findall(rb"[1-9]\d{9,}", data))
    for number, address in enumerate(found):
        data = data.replace(address, b"%0*d" % (len(address), number))
    path.write_bytes(data)
