"""Quality of a generator trained on procedural heads, on held-out heads.

    python -m benchmarks.generator --heads 500 --out benchmarks/results/generator.json

Each head is rendered at one of the yaws 0, +-0.3, +-0.5 (in turn, so each yaw gets a fifth of the heads;
`--all-yaws` renders every head at all five) and compared with the true render of 256 x 256: PSNR over the
whole picture, and LPIPS if its weights are given. MediaPipe is run on the generator's pictures. Then each
direction moves heads from -0.75 to +0.75 standard deviations of its parameter, and the judge, trained on true
renders only, reads all parameters before and after.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.report import report
from inverters.generators.eg3d import Generator
from inverters.generators.load import BUNDLED, load_generator
from inverters.heads.params import PARAMETERS, index, sample_scores, to_z
from inverters.heads.render import render
from inverters.metrics import psnr
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.training.contact import draw
from pipeline.machine import machine
from pipeline.scoring.judge import Judge
from pipeline.stages.pixels import to_bytes

YAWS = (0.0, 0.3, -0.3, 0.5, -0.5)
DIRECTIONS = ("smile", "glasses", "age", "beard", "hair_color", "mouth_open", "blink")


def held_out_scores(n: int) -> Tensor:
    """The same n held-out heads each time; training draws from other seeds."""
    return sample_scores(n, torch.Generator().manual_seed(3_987_654_321))


def load_lpips(features: Path | None) -> Any | None:
    """LPIPS-alex from a file of torchvision's AlexNet features; None without one."""
    if features is None:
        return None
    import lpips

    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    weights = torch.load(features, weights_only=True)
    own = network.net.state_dict()
    for name in own:
        _, layer, kind = name.split(".")
        own[name] = weights[f"features.{layer}.{kind}"]
    network.net.load_state_dict(own)
    return network


@torch.no_grad()
def fidelity(generator: Generator, heads: int, all_yaws: bool, lpips_network: Any | None) -> dict[str, Any]:
    """PSNR, LPIPS and the share of pictures in which MediaPipe finds a face, by yaw and in all."""
    import mediapipe as mp

    mesh = mp.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, min_detection_confidence=0.5
    )
    scores = held_out_scores(heads)
    rows: list[tuple[float, float, float | None, bool]] = []
    size = generator.config.img_resolution
    for k in range(heads):
        for yaw in YAWS if all_yaws else (YAWS[k % len(YAWS)],):
            camera = look_at(torch.tensor([yaw]), torch.zeros(1))
            truth = render(scores[k : k + 1], camera, default_intrinsics(1), (size, size)).image
            image = draw(generator, scores[k : k + 1], camera)[0].clamp(-1, 1)
            distance = None if lpips_network is None else lpips_network(image, truth).item()
            pixels = ((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
            found = mesh.process(pixels).multi_face_landmarks is not None
            rows.append((yaw, float(psnr(image, truth).mean()), distance, found))
        if k % 25 == 24:
            print(
                f"{k + 1}/{heads} heads, mean PSNR {sum(r[1] for r in rows) / len(rows):.2f} dB", flush=True
            )

    def summary(part: list[tuple[float, float, float | None, bool]]) -> dict[str, float | None]:
        known = [r[2] for r in part if r[2] is not None]
        return {
            "pictures": len(part),
            "psnr": round(sum(r[1] for r in part) / len(part), 3),
            "lpips_alex": round(sum(known) / len(known), 4) if known else None,
            "face_found": round(sum(r[3] for r in part) / len(part), 4),
        }

    return {"all": summary(rows)} | {
        f"yaw {yaw:+.1f}": summary([r for r in rows if r[0] == yaw]) for yaw in YAWS
    }


@torch.no_grad()
def directions(generator: Generator, heads: int, judge: Judge) -> dict[str, dict[str, float]]:
    """Judged effect of each direction, by name.

    Share of heads whose parameter rises, its mean rise, and the mean absolute change of the others.
    """
    found: dict[str, dict[str, float]] = {}
    for name in DIRECTIONS:
        scores = held_out_scores(heads)
        scores[:, index(name)] = -0.75
        if name in ("hair_color", "age"):  # a bald head does not show its hair's colour
            scores[:, index("hair_volume")] = 0.75
        yaw = torch.linspace(-0.3, 0.3, heads)
        cameras = look_at(yaw, torch.zeros(heads))
        step = 1.5 * generator.card.directions[name]
        before: list[npt.NDArray[np.uint8]] = []
        after: list[npt.NDArray[np.uint8]] = []
        for score, camera in zip(scores, cameras, strict=True):
            ws = generator.mapping(to_z(score[None], generator.config.z_dim))
            for codes, images in ((ws, before), (ws + step, after)):
                seen = generator.synthesis(codes, camera[None], default_intrinsics(1), noise="none")
                images.append(to_bytes(seen.image)[0])
        change = judge.scores(np.stack(after)) - judge.scores(np.stack(before))
        own = change[:, index(name)]
        leaks = np.nanmean(np.abs(np.delete(change, index(name), axis=1)), axis=0)
        worst = int(leaks.argmax())
        names = [p.name for p in PARAMETERS if p.name != name]
        found[name] = {
            "sign_right": round(float((own > 0).mean()), 4),  # a head whose face is not found counts as wrong
            "mean_rise": round(float(np.nanmean(own)), 3),
            "mean_leak": round(float(leaks.mean()), 3),
            "worst_leak": round(float(leaks[worst]), 3),
            "worst_leak_into": names[worst],  # type: ignore[dict-item]
            "judge_correlation": round(judge.correlation[name], 3),
        }
        print(name, found[name], flush=True)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="bundled")
    parser.add_argument("--heads", type=int, default=500)
    parser.add_argument("--edit-heads", type=int, default=100)
    parser.add_argument("--all-yaws", action="store_true")
    parser.add_argument(
        "--lpips-features", type=Path, default=None, help="torchvision AlexNet features (.pth)"
    )
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--card", action="store_true", help="write the report into the generator's card too")
    args = parser.parse_args()
    generator = load_generator(args.generator)
    began = time.monotonic()
    result: dict[str, Any] = {
        "machine": machine(),
        "fingerprint": generator.card.fingerprint,
        "heads": args.heads,
        "edit_heads": args.edit_heads,
    }
    result["directions"] = directions(generator, args.edit_heads, Judge())
    result["fidelity"] = fidelity(generator, args.heads, args.all_yaws, load_lpips(args.lpips_features))
    result["seconds"] = round(time.monotonic() - began)
    report(result, args.out)
    if args.card:
        path = (BUNDLED if args.generator == "bundled" else Path(args.generator)).with_suffix(".json")
        card = json.loads(path.read_text())
        card["reports"]["held_out"] = result
        path.write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
