"""Write the figures of README and docs from the results of the other benchmarks.

    python -m benchmarks.figures

Reads `benchmarks/results/*.json` and replaces the text between the two marks of each page. Every number there
comes from a result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.figures_editing import editing
from benchmarks.figures_encoders import encoders
from benchmarks.figures_fidelity import fidelity
from benchmarks.figures_generator import generator
from benchmarks.figures_generator import page as generator_page
from benchmarks.figures_scaling import scaling
from benchmarks.figures_service import service
from benchmarks.figures_video import video
from benchmarks.markdown import measured_on, number, paragraphs, prose, share, table

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures: python -m benchmarks.figures -->", "<!-- end of figures -->"


def main_job(found: dict[str, Any]) -> list[str]:
    """The mask sample, In-N-Out beside W+."""
    methods = [found["in-n-out"], found["w+"]]
    scores = [m["score"] for m in methods]
    of_input = number(scores[0]["psnr_removal_of_input"], 1, " dB")

    def row(text: str, *values: str) -> list[str]:
        return [text, *values]

    rows = [
        row(
            "crop PSNR of the reconstruction",
            *(number(m["reconstruction"]["psnr"], 1, " dB") for m in methods),
        ),
        row("IoU of the mask found (blend above one half)", *(number(s["mask_iou"], 2) for s in scores)),
        row(
            "PSNR inside the mask after its removal, against the true frames without the mask "
            f"(the input has {of_input})",
            *(number(s["psnr_removal"], 1, " dB") for s in scores),
        ),
        row(
            "fraction of frames with a positive predicted smile change, for `smile=1.5`",
            *(share(s["edit_sign_share"]) for s in scores),
        ),
        row(
            "PSNR of the crop inside the mask, before and after the edit",
            *(f"{m['psnr_hidden']}, {m['psnr_hidden_edited']} dB" for m in methods),
        ),
        row(
            "camera rotation error, median / 95th percentile",
            *(f"{number(s['camera_median_deg'])} / {number(s['camera_p95_deg'])} degrees" for s in scores),
        ),
        row(
            "PSNR of the edited crop against the true edited frames (*)",
            number(scores[0]["psnr_true_edit"], 1, " dB, mask removed"),
            number(scores[1]["psnr_true_edit"], 1, " dB, behind the mask"),
        ),
        row("seconds of the whole command", *(number(m["seconds"], 0) for m in methods)),
    ]
    again = found["second run"]["seconds"]
    return paragraphs(
        prose(
            f"On `{found['video']}`, one run of each method in the preset `draft` "
            f"(`python -m benchmarks.main_job {found['video']} --out benchmarks/results/mask.json`):"
        ),
        table(["", "In-N-Out", "W+"], rows),
        prose(
            f"The same job with another `--edit` took {number(again, 0)} s, "
            f"{share(found['second_run_share'])} of the first. W+ keeps the cameras from the landmarks. "
            "(*) In-N-Out also removes the mask, so the two methods are compared with different truths."
        ),
    )


def demo_smile(found: dict[str, Any]) -> list[str]:
    """How much of a true smile the demo shows."""
    return prose(
        f"The demo asks for `smile={found['strength']:g}`. {found['reader']} sees {share(found['share'])} of "
        f"the change that a true smile of {found['true_strength']:g} makes, and in "
        f"{share(found['frames'])} of the frames at least {share(found['enough'])} of it "
        "(`python -m benchmarks.demo_smile samples/mask.mp4 out/demo`)."
    )


def cameras(found: dict[str, Any]) -> list[str]:
    """Cameras from landmarks alone."""
    error, settings = found["rotation_error_deg"], found["settings"]
    words = " ".join(f"--{name} {settings[name]}" for name in ("frames", "fps", "size"))
    return prose(
        f"On {settings['clips']} other synthetic clips, the rotation error of cameras from landmarks alone "
        f"is {number(error['median'])} degrees (median) and {number(error['p95'])} (95th percentile): "
        f"`python -m benchmarks.cameras {words}`."
    )


def memory(found: dict[str, Any]) -> list[str]:
    """Peak memory of a long clip."""
    peak = max(value for stage, value in found["peak"].items() if stage != "invert")
    return prose(
        f"Memory: {found['frames']} frames of 1080p ({found['clip']['seconds']:.0f} s) through every stage, "
        f"with a small stand-in generator, take at most {number(peak)} GB outside the inversion and "
        f"{number(found['peak']['invert'])} GB in it "
        f"(`python -m benchmarks.memory {found['sample']} --fps {found['clip']['fps']:g}`)."
    )


def renderer(found: dict[str, Any]) -> list[str]:
    """The operator alone, beside the reference."""
    rows = [
        [
            row["case"],
            row["backend"],
            number(row["forward_ms"], 1, " ms"),
            number(row["forward_backward_ms"], 1, " ms"),
            number(row["memory_mb"], 0, " MB"),
            *(f"{row[f'{name}_ratio']:.1f}x" for name in ("forward", "forward_backward", "memory")),
        ]
        for row in found["rows"]
    ]
    head = ["case", "renderer", "forward", "forward and backward", "memory"]
    head += ["ratio, forward", "ratio, forward and backward", "ratio, memory"]
    return paragraphs(
        prose(
            f"The operator alone (`python -m benchmarks.renderer --json`), renderer `{found['renderer']}`; "
            "a ratio is the reference's value over this renderer's:"
        ),
        table(head, rows),
    )


def steps(found: dict[str, Any]) -> list[str]:
    """Steps of each stage, with either renderer."""
    rows = []
    for preset, stages in found["presets"].items():
        for stage, by_renderer in stages.items():
            slow, quick = (by_renderer[name] for name in ("reference", "cpu"))
            rows.append(
                [
                    preset,
                    stage,
                    f"{slow['step_ms']} ms, {share(slow['renderer_share'])}",
                    f"{quick['step_ms']} ms, {share(quick['renderer_share'])}",
                    f"{slow['step_ms'] / quick['step_ms']:.1f}x",
                ]
            )
    return paragraphs(
        prose(
            "Time of one step of each stage of In-N-Out, and the renderer's share of it "
            "(`python -m benchmarks.steps`):"
        ),
        table(["preset", "stage", "reference", "compiled", "ratio"], rows),
    )


def precision(found: dict[str, Any]) -> list[str]:
    """Convolutions in float32 and bfloat16."""
    kinds = ("float32", "bfloat16")
    rows = [
        [f"step, {stage}", *(number(took[kind], 1, " ms") for kind in kinds)]
        for stage, took in found["steps"].items()
    ]
    samples = {"draft": "24 + 24 samples a ray", "generator": "48 + 48"}
    rows += [
        [f"pictures a second, {samples[name]}", *(number(row[kind], 1) for kind in kinds)]
        for name, row in found["rendering"].items()
    ]
    jobs = [found["jobs"][kind] for kind in kinds]
    rows += [
        ["the whole job", *(number(job["seconds"], 0, " s") for job in jobs)],
        ["... reconstruction", *(number(job["reconstruction"]["psnr"], 2, " dB") for job in jobs)],
        ["... removal", *(number(job["psnr_removal"], 2, " dB") for job in jobs)],
        ["... true edit", *(number(job["psnr_true_edit"], 2, " dB") for job in jobs)],
    ]
    least = min(row["psnr"] for row in found["rendering"].values())
    return paragraphs(
        prose(
            f"Convolutions in float32 and in bfloat16 (`--precision`), {found['threads']} threads, measured "
            f"on {found['machine']['date']} (`python -m benchmarks.precision --video {found['video']}`). "
            f"The pictures of one agree with those of the other to {number(least, 0, ' dB')} or more:"
        ),
        table(["", *kinds], rows),
    )


def jobs(found: dict[str, Any]) -> list[str]:
    """The whole job, with either renderer."""
    runs = {"reference": found["reference renderer"], "compiled": found["in-n-out"]}
    names = ("invert", "finetune", "edit", "composite")
    rows = [
        [name, number(run["seconds"], 0, " s"), *(number(run["stages"][s], 0, " s") for s in names)]
        for name, run in runs.items()
    ]
    return paragraphs(
        prose(
            f"The whole job on `{found['video']}`, preset `draft` (`python -m benchmarks.main_job "
            f"{found['video']}`; the command of `make demo` without its view from the side):"
        ),
        table(["renderer", "whole command", *names], rows),
    )


def presets(found: dict[str, Any]) -> list[str]:
    """Presets on the same frames."""
    rows = []
    for name, run in found["presets"].items():
        scores = run["score"]
        rows.append(
            [
                name if run["steps"] == "all" else f"{name}, stopped after {run['steps']} steps",
                number(run["seconds"], 0, " s"),
                number(scores["psnr_reconstruction"], 2, " dB"),
                number(scores["mask_iou"], 2),
                number(scores["psnr_removal"], 2, " dB"),
                number(scores["psnr_true_edit"], 2, " dB"),
                share(scores["edit_sign_share"]),
            ]
        )
    head = ["preset", "whole command", "reconstruction", "mask IoU", "removal", "true edit", "right sign"]
    return paragraphs(
        prose(
            f"Presets on the first {found['frames']} frames of `{found['video']}` "
            f"(`python -m benchmarks.presets {found['video']} --max-frames {found['frames']} --preset ...`):"
        ),
        table(head, rows),
    )


def cache(found: dict[str, Any]) -> list[str]:
    """Frames into the stage cache and back."""
    rate = found["megabytes_per_second"]
    return prose(
        f"The stage cache, {found['frames']} frames of {found['size']} x {found['size']}, one chunk each "
        f"(`python -m benchmarks.cache`), in MB of pixels a second: {number(rate['write'], 0)} written to "
        f"disk, {number(rate['read in order'], 0)} read in order, {number(rate['read at random'], 0)} read "
        f"at random, {number(rate['verify'], 0)} read and hashed as `invid cache verify` does."
    )


def busy(found: dict[str, Any]) -> list[str]:
    """A fit beside other work."""
    rows = [
        [
            str(row["load"]),
            *(number(row[key], 1) for key in ("seconds", "fair_share_seconds")),
            number(row["ratio"], 2),
        ]
        for row in found["rows"]
    ]
    pairs = found["against"]
    return paragraphs(
        prose(
            "A short fit of `samples/mask.mp4` beside busy processes (`python -m benchmarks.busy --json`, "
            f"median of {found['rounds']} rounds, measured on {found['machine']['date']}). The script "
            "defines the fair share; a fit with a ratio of 1 loses no more than its share. Alone it takes "
            f"{number(pairs['slower'], 3)} times as long as on commit {pairs['commit']} (median of "
            f"{len(pairs['pairs'])} pairs):"
        ),
        table(["busy processes", "seconds", "fair share's seconds", "ratio"], rows),
    )


def depth(found: dict[str, Any]) -> list[str]:
    """Jobs of more than 8 bits, beside the same job of 8 bits."""
    rows = [
        [
            kind,
            number(job["cpu"], 0, " s"),
            number(found["ratio"][kind], 2),
            number(job["most"], 2, " GB"),
        ]
        for kind, job in found["jobs"].items()
    ]
    frames = found["jobs"]["8 bits"]["frames"]
    return paragraphs(
        prose(
            f"The same clip of {frames} frames of 1080p at 8 bits, at 10 bits, and as HLG, through every "
            "stage to HEVC, with a small stand-in generator (`python -m benchmarks.depth "
            f"{found['sample']} --seconds {found['clip']['seconds']:g}`). Processor time is that of the "
            "whole job, its children included; a ratio is to the job of 8 bits. Measured on "
            f"{found['machine']['date']}, beside other work:"
        ),
        table(["clip", "processor time", "ratio", "peak memory"], rows),
    )


def memory_deep(found: dict[str, Any]) -> list[str]:
    """Peak memory of a long clip of 10 bits."""
    clip = found["clip"]
    stage = max(found["peak"], key=found["peak"].__getitem__)
    return prose(
        f"Memory at {clip['bits']} bits: {found['frames']} frames of 1080p ({clip['seconds']:.0f} s) through "
        f"every stage take at most {number(found['most'], 2)} GB, in `{stage}` (`python -m benchmarks.memory "
        f"{found['sample']} --seconds {clip['seconds']:g} --bits {clip['bits']} --pictures "
        f"{clip['pictures']:g} --quick`; measured on {found['machine']['date']}). One picture stands for "
        f"{1 / clip['pictures']:g} s, so that few are fitted; every frame is read, composited and encoded."
    )


def performance(results: dict[str, Any]) -> list[str]:
    """What docs/performance.md shows."""
    return paragraphs(
        measured_on(results, "renderer", "steps", "mask", "presets", "cache"),
        renderer(results["renderer"]),
        steps(results["steps"]),
        precision(results["precision"]) if "precision" in results else [],
        jobs(results["mask"]),
        presets(results["presets"]),
        cache(results["cache"]),
        busy(results["busy"]),
        depth(results["depth"]),
        memory_deep(results["memory_deep"]),
    )


def main() -> None:
    """Read, and rewrite the pages."""
    results = {
        path.stem: json.loads(path.read_text()) for path in (ROOT / "benchmarks/results").glob("*.json")
    }
    measured = [name for name in ("generator",) if name in results]
    readme = paragraphs(
        measured_on(results, "mask", "demo_smile", "cameras", "memory", *measured),
        main_job(results["mask"]),
        demo_smile(results["demo_smile"]),
        cameras(results["cameras"]),
        memory(results["memory"]),
        *(generator(results[name]) for name in measured),
    )
    write(ROOT / "README.md", readme)
    write(ROOT / "docs/performance.md", performance(results))
    write(ROOT / "docs/scaling.md", scaling(results))
    write(ROOT / "docs/running.md", service(results))
    write(ROOT / "docs/video.md", video(results))
    write(ROOT / "docs/editing.md", editing(results))
    write(ROOT / "docs/fidelity.md", fidelity(results))
    if "encoders" in results:
        write(ROOT / "docs/encoders.md", encoders(results))
    if measured or "people" in results:
        write(ROOT / "docs/generator.md", generator_page(results))


def write(path: Path, lines: list[str]) -> None:
    """Replace what stands between the marks of a page."""
    text = path.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    path.write_text(text[:start] + "\n" + "\n".join(lines) + "\n" + text[end:])


if __name__ == "__main__":
    main()
