"""The options of `process-video`, and the request that they make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.request.settings import Settings


def process_arguments() -> argparse.ArgumentParser:
    """The options of `process-video`."""
    parser = argparse.ArgumentParser(
        prog="process-video",
        description="Edit the face in a video. Everything outside the face stays as it is; size, frame times "
        "and sound are kept. Edit people only with their consent.",
        epilog="example: process-video clip.mp4 --edit smile=1.5 --edit glasses=1@0.5-1.2s --remove-occluder",
    )
    add = parser.add_argument
    add("input", type=Path, help="a video file")
    add("--out", type=Path, metavar="DIR", help="folder for the results (out/NAME)")
    add("--cache", metavar="DIR|URL", help="reusable stages: a folder, or s3://... (~/.cache/invid)")
    what = parser.add_argument_group("what to do")
    add = what.add_argument
    add("--edit", action="append", default=[], metavar="NAME=VALUE[@A-Bs]", help="may be given several times")
    add("--directions", action="append", default=[], metavar="FILE", help="more that --edit can name")
    add("--remove-occluder", action="store_true", help="take off what covers the face")
    add("--stitch", nargs="?", const="weights", metavar="weights|codes", help="fit edits' borders (slow)")
    add("--smooth", default="none", help="of codes in time, as rendered: causal, gaussian or none (none)")
    add("--steady", action="store_true", help="hold changes to the frame before, along the motion")
    add("--view", metavar="yaw=Y,pitch=P|orbit", help="also show the face from another side (radians)")
    add("--inset", action="store_true", help="put that view back into the frames, the head turned")
    how = parser.add_argument_group("how")
    add = how.add_argument
    add("--generator", default="bundled", metavar="bundled|PATH", help="an EG3D .pkl, or a .safetensors")
    add("--device", default="auto", help="auto, cpu or cuda (auto)")
    add("--renderer", default="auto", help="auto, cuda, cpu or reference: compiled, or plain torch (auto)")
    add(
        "--inverter",
        default="in-n-out",
        metavar="NAME",
        help="in-n-out, w, w+, pti, pose-opt, hfgi3d or vive3d (in-n-out)",
    )
    add("--preset", metavar="NAME", help="the method's numbers: draft on CPU, fast on CUDA, paper, ...")
    without: Any = {"dest": "without", "action": "append_const"}
    add("--no-entropy", **without, const="no-entropy", help="in-n-out: leave out what bounds the blend")
    add("--no-latent-reg", **without, const="no-latent-reg", help="in-n-out: leave out what bounds the codes")
    add("--steps", type=int, metavar="N", help="steps of the inversion, instead of the preset's")
    add("--finetune-steps", type=int, metavar="N", help="steps of the last fine-tuning; 0 leaves it out")
    add("--occluder-masks", metavar="DIR", help="one mask image a frame, 0 = occluder")
    add("--cameras", metavar="dataset.json", help="official EG3D cameras instead of estimated ones")
    add("--detector", default="mediapipe", help="mediapipe, fan or 3ddfa:PATH (mediapipe)")
    add("--face", type=int, default=0, metavar="N", help="which face: 0 is the largest")
    add("--smoothing", default="box", help="of landmarks in time: box, gaussian or none (box)")
    add("--smoothing-window", type=float, default=3.0, metavar="FRAMES", help="width or sigma (3)")
    add("--seed", type=int, default=0, help="of every random choice (0)")
    files = parser.add_argument_group("reading and writing")
    add = files.add_argument
    add("--reader", default="av", help="av or decord (av)")
    add("--ingest", default="", metavar="FILTERS", help="run first: deinterlace,tonemap,fps=25")
    add("--strict", action="store_true", help="refuse a file that shows signs of damage")
    add("--max-frames", type=int, metavar="N", help="read no more frames than this")
    add("--codec", default="h264", help="h264, hevc, prores or ffv1 (h264)")
    add("--quality", type=int, metavar="CRF", help="of h264 and hevc")
    add("--crops", action="store_true", help="also write the face crops alone")
    add("--json", action="store_true", help="print the manifest; progress goes to standard error")
    add("--quiet", action="store_true", help="show no progress")
    name = "process-video/default"
    add("--submit", nargs="?", const=name, metavar="DEPLOYMENT", help=f"let a Prefect worker do it ({name})")
    add("--debug", action="store_true", help="write the traceback of an unexpected error to a file")
    return parser


def settings_from(args: argparse.Namespace) -> Settings:
    """The request as Settings. Raises UserError."""
    from pipeline.request.edits import parse_edit, parse_view
    from pipeline.request.settings import (
        CameraSettings,
        CompositeSettings,
        DecodeSettings,
        EditSettings,
        EncodeSettings,
        FinetuneSettings,
        InvertSettings,
        Settings,
        TrackSettings,
    )

    return Settings(
        generator=args.generator,
        device=args.device,
        renderer=args.renderer,
        strict=args.strict,
        decode=DecodeSettings(args.reader, args.ingest, args.max_frames),
        track=TrackSettings(
            detector=args.detector,
            face=args.face,
            smoothing=args.smoothing,
            smoothing_window=args.smoothing_window,
        ),
        camera=CameraSettings(labels=args.cameras),
        invert=InvertSettings(
            args.inverter,
            args.preset or "draft",
            args.steps,
            args.occluder_masks,
            args.seed,
            tuple(dict.fromkeys(args.without or ())),
        ),
        finetune=FinetuneSettings(enabled=args.finetune_steps != 0, steps=args.finetune_steps or None),
        edit=EditSettings(
            edits=tuple(parse_edit(text) for text in args.edit),
            directions=tuple(args.directions),
            remove_occluder=args.remove_occluder,
            view=None if args.view is None else parse_view(args.view),
            smooth=args.smooth,
            inset=args.inset,
        ),
        composite=CompositeSettings(stitch=args.stitch, steady=args.steady),
        encode=EncodeSettings(args.codec, args.quality, args.crops),
    )
