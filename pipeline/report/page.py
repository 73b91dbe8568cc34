"""The report of a job: one self-contained HTML page with stills, videos, curves and every setting."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.clip import Clip, Crops
from pipeline.errors import OutputError
from pipeline.report.charts import charts
from pipeline.report.pictures import encode
from pipeline.report.stills import LEADS, Look, Stills, take_stills
from pipeline.report.timeline import MOST_LISTED, timeline
from pipeline.report.values import finite, listing, mapping, number_text, rows_of, seconds_text

EMBED_LIMIT = 20 * 2**20
"""Bytes of video up to which the page carries its videos inside itself; beyond, it links to the files."""

STILLS_LIMIT = 3 * 2**19
"""Characters of all stills together (1.5 MiB)."""

VIDEO_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm"}
"""Containers a browser may play, by suffix; others are offered as a link."""

_MOST_FILES = 100
"""Files listed by name; the manifest has all."""
_NOT_VIDEO = {".html", ".json", ".npz", ".txt"}
_CAPTIONS = {
    "comparison": "Source and outputs, side by side",
    "edited": "Edited",
    "removal": "Occluder removed",
    "removal_edited": "Occluder removed and edited",
    "view": "Novel view",
    "turned": "Head turned in its own frames",
    "crops": "Aligned crops",
}
_CONSENT = (
    "The video in this report was altered by software. Edit and share pictures of a person only with that "
    "person's consent, say openly that the video was edited, and leave the note about the edit in the file's "
    "metadata where it is."
)


def report(
    manifest: Mapping[str, Any],
    curves: Mapping[str, Sequence[float | None]],
    out_dir: Path,
    clip: Clip | None = None,
    name: str = "report.html",
    crops: Crops | None = None,
) -> Path:
    """Write the self-contained page of one job beside its videos.

    manifest: the job's manifest (docs/formats.md); a missing key leaves its part out. curves: numbers by
    "chart/series", one a step or a frame (None or NaN: no value there), e.g. "losses/codes/colour",
    "psnr/psnr", "camera/yaw" in radians; series with the same part before the last slash share a chart.
    clip: the source, for its stills; without it there is no before and after. crops: where the face is in
    each frame; without them frames are compared whole, and outputs that are crops cannot be laid over the
    source. Returns the path of the page. Raises OutputError if it cannot be written.
    """
    page = _page(manifest, curves, out_dir, clip, crops)
    path = out_dir / name
    draft = out_dir / f".{name}.part"
    try:
        draft.write_bytes(page.encode("utf-8", "replace"))
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        message = f"cannot write the report {path}: {error.strerror}; choose another --out folder"
        raise OutputError(message) from error
    return path


def delivered_look(
    manifest: Mapping[str, Any], out_dir: Path, clip: Clip, crops: Crops
) -> tuple[str, Look] | None:
    """Caption and look of the output that the page shows first; None where no frame of it can be read."""
    found = _found(mapping(manifest.get("outputs")), out_dir)
    lead = next((key for key in LEADS if key in found), None)
    look = None if lead is None else take_stills(manifest, {lead: found[lead]}, clip, crops).looks.get(lead)
    return None if lead is None or look is None else (_caption(lead), look)


def _page(
    manifest: Mapping[str, Any],
    curves: Mapping[str, Sequence[float | None]],
    out_dir: Path,
    clip: Clip | None,
    crops: Crops | None,
) -> str:
    """The whole page as text."""
    source = mapping(manifest.get("input"))
    found = _found(mapping(manifest.get("outputs")), out_dir)
    stills = take_stills(manifest, found, clip, crops)
    encode(stills.pictures(), STILLS_LIMIT)
    script, digest = page_script()
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=Path(str(source.get("path") or source.get("name") or "clip")).name,
            summary=_summary(mapping(manifest.get("settings"))),
            facts=_facts(source),
            figures=_figures(manifest),
            looks=_looks(stills),
            stills=stills,
            videos=_videos(found, out_dir, stills),
            timeline=timeline(manifest),
            most_listed=MOST_LISTED,
            charts=charts(curves),
            notes=[str(note) for note in listing(manifest.get("notes"))],
            stages=_stages(manifest),
            settings=_settings(mapping(manifest.get("settings"))),
            source=rows_of(source),
            origins=rows_of(_origins(manifest)),
            files=_files(manifest),
            consent=_CONSENT,
            script=script,
            digest=digest,
        )
    )


@cache
def page_script() -> tuple[str, str]:
    """The script of a page, and its SHA-256 as a Content-Security-Policy has it."""
    script = _environment().get_template("report.js").render()
    return script, base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    """The templates beside this file; whatever they show is escaped."""
    return Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _summary(settings: Mapping[str, Any]) -> str:
    """One sentence: what was done to the clip."""
    edit = mapping(settings.get("edit"))
    done = [_edit_text(one) for one in listing(edit.get("edits"))]
    for face in map(mapping, listing(mapping(settings.get("track")).get("face"))):
        done += [f"face {face.get('number')}: {_edit_text(one)}" for one in listing(face.get("edits"))]
    if edit.get("remove_occluder"):
        done.append("occluder removed")
    if edit.get("view"):
        done.append("novel view")
    invert = mapping(settings.get("invert"))
    method = " ".join(str(invert[key]) for key in ("method", "preset") if invert.get(key))
    text = "Edited with Invid: " + (", ".join(done) if done else "reconstruction only")
    return text + (f" · {method}" if method else "")


def _edit_text(edit: Any) -> str:
    """`smile +1.5`, with its time range where it has one."""
    if not isinstance(edit, Mapping):
        return str(edit)
    text = f"{edit.get('name', '?')} {number_text(edit.get('strength'), sign=True)}"
    start, stop = edit.get("start"), edit.get("stop")
    if start is not None or stop is not None:
        end = "the end" if stop is None else f"{number_text(stop)} s"
        text += f" ({number_text(start or 0)} to {end})"
    return text


def _facts(source: Mapping[str, Any]) -> list[str]:
    """What the source is: size, rate, duration, sound."""
    width, height, rate, duration = (finite(source.get(k)) for k in ("width", "height", "rate", "duration"))
    facts = []
    if width is not None and height is not None:
        facts.append(f"{width:.0f} × {height:.0f} pixels")
    if rate is not None:
        facts.append(f"{rate:.4g} frames/s")
    if duration is not None:
        facts.append(" ".join(seconds_text(duration)))
    if isinstance(source.get("has_audio"), bool):
        facts.append("with sound" if source["has_audio"] else "no sound")
    return facts


def _figures(manifest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The headline figures: name, value, unit."""
    frames = mapping(manifest.get("frames"))
    quality = mapping(mapping(manifest.get("metrics")).get("reconstruction"))
    figures = [
        (name, number_text(value), unit)
        for name, value, unit in (
            ("frames", frames.get("total"), ""),
            ("edited", frames.get("edited"), ""),
            ("interpolated", frames.get("interpolated"), ""),
            ("passed through", frames.get("passed_through"), ""),
            ("PSNR", quality.get("psnr"), "dB"),
            ("SSIM", quality.get("ssim"), ""),
            ("LPIPS", quality.get("lpips"), ""),
        )
        if value is not None
    ]
    seconds = [finite(mapping(stage).get("seconds")) or 0.0 for stage in listing(manifest.get("stages"))]
    if seconds:
        figures.append(("computing", *seconds_text(sum(seconds))))
    return figures


def _found(outputs: Mapping[str, Any], out_dir: Path) -> dict[str, list[Path]]:
    """The files of each video, picture or sequence, in the order in which the page shows them."""
    paths: dict[str, list[Path]] = {}
    for key, value in outputs.items():
        path = _inside(out_dir, _path_of(value))
        if path is not None and path.suffix.lower() not in _NOT_VIDEO:
            paths.setdefault(str(key).partition(".")[0], []).append(path)
    known = list(_CAPTIONS)
    order = sorted(paths, key=lambda key: known.index(key) if key in known else len(known))
    return {key: paths[key] for key in order}


def _inside(out_dir: Path, relative: object) -> Path | None:
    """The file named by a manifest, or None when it is missing or lies outside the result folder."""
    root = out_dir.resolve()
    try:
        path = (root / str(relative)).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except (OSError, ValueError):
        return None


def _path_of(value: Any) -> object:
    """An output is a path, or a mapping that holds one."""
    return value.get("path", "") if isinstance(value, Mapping) else value


def _caption(key: str) -> str:
    return _CAPTIONS.get(key, key.replace("_", " ").capitalize())


def _looks(stills: Stills) -> list[tuple[str, Look]]:
    """Captions and looks that have both sides, the lead first."""
    keys = sorted(stills.looks, key=lambda key: key != stills.lead)
    shown = [(_caption(key), stills.looks[key]) for key in keys]
    return [(text, look) for text, look in shown if look.after.uri and look.before and look.before.uri]


def _videos(found: Mapping[str, list[Path]], out_dir: Path, stills: Stills) -> list[dict[str, Any]]:
    """The outputs: films inside the page while they are small together, linked otherwise."""
    films = [paths[0] for paths in found.values() if paths[0].suffix.lower() in VIDEO_TYPES]
    embed = sum(path.stat().st_size for path in films) < EMBED_LIMIT
    videos = []
    for key, (path, *others) in found.items():
        link = path.relative_to(out_dir.resolve()).as_posix()
        kind = VIDEO_TYPES.get(path.suffix.lower())
        source = href = quote(link)
        if kind is not None and embed:
            source = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        poster = stills.posters.get(key)
        videos.append(
            {
                "caption": _caption(key),
                "link": f"{link} and {len(others)} more" if others else link,
                "href": href,
                "source": source,
                "plays": kind is not None,
                "poster": poster if poster is not None and poster.uri else None,
                "wide": key == "comparison",
            }
        )
    return videos


def _stages(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, seconds, share of the whole in per cent, and whether it came from the cache, of each stage."""
    stages = [mapping(stage) for stage in listing(manifest.get("stages"))]
    seconds = [max(0.0, finite(stage.get("seconds")) or 0.0) for stage in stages]
    total, longest = sum(seconds) or 1.0, max(seconds, default=0.0) or 1.0
    return [
        {
            "name": str(stage.get("name", "?")),
            "seconds": spent,
            "share": 100 * spent / total,
            "bar": 100 * spent / longest,
            "cached": bool(stage.get("cached")),
        }
        for stage, spent in zip(stages, seconds)
    ]


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Settings by the stage that they belong to; those of the whole job first."""
    of_job = {key: value for key, value in settings.items() if not (isinstance(value, Mapping) and value)}
    groups = [("job", rows_of(of_job))] if of_job else []
    groups += [(str(key), rows_of(value)) for key, value in settings.items() if key not in of_job]
    return groups


def _origins(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers were made with: versions, generator, device, renderer, precision, image loss."""
    made = dict(mapping(manifest.get("versions")))
    keys = ("generator", "device", "renderer", "precision", "loss_used")
    return made | {key: manifest[key] for key in keys if manifest.get(key)}


def _files(manifest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, path and hash of every file written."""
    hashes, listed = mapping(manifest.get("output_hashes")), mapping(manifest.get("outputs"))
    rows = []
    for key, value in list(listed.items())[:_MOST_FILES]:
        digest = value.get("sha256") if isinstance(value, Mapping) else hashes.get(key)
        rows.append((str(key), str(_path_of(value)), str(digest or "")))
    if len(listed) > _MOST_FILES:
        rows.append(("", f"and {len(listed) - _MOST_FILES} more", ""))
    return rows
