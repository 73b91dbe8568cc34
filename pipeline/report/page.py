"""The report: one self-contained HTML page with the videos, figures, curves and every setting of a job."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError
from pipeline.report.style import STYLE

EMBED_LIMIT = 20 * 2**20
"""Bytes of video up to which the page carries its videos inside itself; beyond, it links to the files."""

VIDEO_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm"}
"""Containers a browser may play, by suffix; others are offered as a link."""

_NOT_VIDEO = {".html", ".json", ".npz", ".txt"}
STATUS_NAMES = ("no face, passed through", "interpolated", "found")

_CAPTIONS = {
    "comparison": "Source and edit, side by side",
    "edited": "Edited",
    "removal": "Occluder removed",
    "removal_edited": "Occluder removed and edited",
    "view": "Novel view",
    "turned": "Head turned in its own frames",
    "crops": "Aligned crops",
}
_CHARTS = {
    "losses": ("Losses", "step", ""),
    "quality": ("Reconstruction, frame by frame", "frame", ""),
    "psnr": ("PSNR of the reconstruction", "frame", "dB"),
    "ssim": ("SSIM of the reconstruction", "frame", ""),
    "lpips": ("LPIPS of the reconstruction", "frame", ""),
    "camera": ("Camera", "frame", "rad"),
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
    name: str = "report.html",
) -> Path:
    """Write the self-contained page of one job beside its videos.

    `manifest` is the job's manifest (docs/formats.md); a missing key leaves its part out. `curves` maps
    "chart/series" to numbers, one a step or a frame (None or NaN: no value there), e.g. "losses/total",
    "psnr/psnr", "camera/yaw" in radians; series with the same part before the slash share a chart.
    Returns the path of the page. Raises OutputError if it cannot be written.
    """
    page = _page(manifest, curves, out_dir)
    path = out_dir / name
    draft = out_dir / f".{name}.part"
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        message = f"cannot write the report {path}: {error.strerror}; choose another --out folder"
        raise OutputError(message) from error
    return path


def _page(manifest: Mapping[str, Any], curves: Mapping[str, Sequence[float | None]], out_dir: Path) -> str:
    """The whole page as text."""
    source = manifest.get("input") or {}
    title = Path(str(source.get("path") or source.get("name") or "clip")).name
    body = [
        f"<header><h1>{escape(title)}</h1><p>{_summary(manifest)}</p></header>",
        _tiles(manifest),
        _videos(manifest.get("outputs") or {}, out_dir),
        _status_strip(manifest.get("per_frame") or {}),
        _section("Curves", '<div class="grid">' + "".join(_charts(curves)) + "</div>" if curves else ""),
        _section("Notes", _notes(manifest.get("notes") or [])),
        _section("Stages", _stages(manifest.get("stages") or [])),
        _section("Settings", _table(manifest.get("settings") or {})),
        _section("Input", _table(source)),
        _section("Versions", _table(_origins(manifest))),
        _section("Files", _files(manifest)),
        f'<footer class="note"><strong>Consent.</strong> {escape(_CONSENT)}</footer>',
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · Invid</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _summary(manifest: Mapping[str, Any]) -> str:
    """One sentence: what was done to the clip."""
    settings = manifest.get("settings") or {}
    edit = settings.get("edit") or {}
    done = [_edit_text(one) for one in edit.get("edits") or []]
    if edit.get("remove_occluder"):
        done.append("occluder removed")
    if edit.get("view"):
        done.append("novel view")
    method = (settings.get("invert") or {}).get("method")
    text = "Edited with Invid: " + (", ".join(done) if done else "reconstruction only")
    return escape(text + (f" · {method}" if method else ""))


def _edit_text(edit: Any) -> str:
    """`smile +1.5`, with its time range where it has one."""
    if not isinstance(edit, Mapping):
        return str(edit)
    text = f"{edit.get('name', '?')} {_number(edit.get('strength'), sign=True)}"
    if edit.get("start") is not None or edit.get("stop") is not None:
        stop = edit.get("stop")
        text += (
            f" ({_number(edit.get('start') or 0)} to {'the end' if stop is None else _number(stop) + ' s'})"
        )
    return text


def _number(value: Any, digits: int = 4, sign: bool = False) -> str:
    """A number for people: four digits, a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "–"
    return format(value, f"{'+' if sign else ''}.{digits}g")


def _tiles(manifest: Mapping[str, Any]) -> str:
    """The headline figures."""
    frames = manifest.get("frames") or {}
    quality = (manifest.get("metrics") or {}).get("reconstruction") or {}
    seconds = [float(stage.get("seconds") or 0) for stage in manifest.get("stages") or []]
    figures = [
        ("frames", frames.get("total"), ""),
        ("edited", frames.get("edited"), ""),
        ("interpolated", frames.get("interpolated"), ""),
        ("passed through", frames.get("passed_through"), ""),
        ("PSNR", quality.get("psnr"), "dB"),
        ("SSIM", quality.get("ssim"), ""),
        ("LPIPS", quality.get("lpips"), ""),
        ("computing", sum(seconds) if seconds else None, "s"),
    ]
    tiles = [
        f"<div><dt>{name}</dt><dd>{escape(_number(value))} <small>{unit}</small></dd></div>"
        for name, value, unit in figures
        if value is not None
    ]
    return f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else ""


def _inside(out_dir: Path, relative: object) -> Path | None:
    """The file named by a manifest, or None when it is missing or lies outside the result folder."""
    root = out_dir.resolve()
    path = (root / str(relative)).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def _videos(outputs: Mapping[str, Any], out_dir: Path) -> str:
    """The videos: inside the page while they are small together, linked otherwise."""
    found = {key: path for key, value in outputs.items() if (path := _inside(out_dir, _path_of(value)))}
    found = {key: path for key, path in found.items() if path.suffix.lower() not in _NOT_VIDEO}
    embed = sum(path.stat().st_size for path in found.values()) < EMBED_LIMIT
    known = list(_CAPTIONS)
    order = sorted(found, key=lambda key: known.index(key) if key in known else len(known))
    figures = []
    for key in order:
        path = found[key]
        caption = escape(_CAPTIONS.get(key, key.replace("_", " ").capitalize()))
        link = escape(path.relative_to(out_dir.resolve()).as_posix(), quote=True)
        kind = VIDEO_TYPES.get(path.suffix.lower())
        if kind is None:
            figures.append(f'<figure><a href="{link}">{link}</a><figcaption>{caption}</figcaption></figure>')
            continue
        data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}" if embed else link
        wide = ' class="wide"' if key == "comparison" else ""
        figures.append(
            f'<figure{wide}><video controls loop playsinline preload="metadata" src="{data}"></video>'
            f'<figcaption>{caption} <a href="{link}">{link}</a></figcaption></figure>'
        )
    return _section("Videos", f'<div class="videos">{"".join(figures)}</div>' if figures else "")


def _path_of(value: Any) -> object:
    """An output is a path, or a mapping that holds one."""
    return value.get("path", "") if isinstance(value, Mapping) else value


def _status_strip(per_frame: Mapping[str, Any]) -> str:
    """One thin bar a frame: found, interpolated, or passed through."""
    status = [int(value) for value in per_frame.get("status") or []]
    if not status:
        return ""
    bars, start = [], 0
    for i in range(1, len(status) + 1):
        if i == len(status) or status[i] != status[start]:
            name = STATUS_NAMES[status[start]] if 0 <= status[start] < len(STATUS_NAMES) else "unknown"
            bars.append(
                f'<rect class="s{status[start]}" x="{start}" width="{i - start}" height="1">'
                f"<title>frames {start} to {i - 1}: {name}</title></rect>"
            )
            start = i
    legend = "".join(
        f'<span><i class="s{k}"></i>{STATUS_NAMES[k]}: {status.count(k)}</span>' for k in (2, 1, 0)
    )
    box = f'class="strip" viewBox="0 0 {len(status)} 1" preserveAspectRatio="none" role="img"'
    return _section("Frames", f'<svg {box}>{"".join(bars)}</svg><p class="legend">{legend}</p>')


def _charts(curves: Mapping[str, Sequence[float | None]]) -> Iterator[str]:
    """One chart for each part before the slash, in the order given."""
    groups: dict[str, dict[str, Sequence[float | None]]] = {}
    for key, values in curves.items():
        chart, _, series = key.partition("/")
        groups.setdefault(chart, {})[series or chart] = values
    for chart, lines in groups.items():
        title, axis, unit = _CHARTS.get(chart, (chart.replace("_", " ").capitalize(), "frame", ""))
        drawn = _chart(lines, axis, unit, log=chart == "losses")
        if drawn:
            yield f"<figure><figcaption>{escape(title)}</figcaption>{drawn}</figure>"


def _chart(series: Mapping[str, Sequence[float | None]], axis: str, unit: str, log: bool) -> str:
    """Curves as inline SVG with three labelled levels; `log` is used only while every value is above zero."""
    width, height, left, bottom = 440.0, 200.0, 52.0, 24.0
    shown = {name: [_finite(value) for value in values] for name, values in series.items()}
    flat = [value for values in shown.values() for value in values if value is not None]
    if not flat:
        return ""
    log = log and min(flat) > 0
    low, high = (math.log10(min(flat)), math.log10(max(flat))) if log else (min(flat), max(flat))
    if high - low < 1e-9 * max(1.0, abs(high)):
        half = max(0.5, abs(high) / 1000)
        low, high = low - half, high + half
    longest = max(len(values) for values in shown.values())

    def place(i: int, value: float) -> str:
        level = (math.log10(value) if log else value) - low
        x = left + (width - left - 8) * i / max(longest - 1, 1)
        return f"{x:.1f},{8 + (height - bottom - 8) * (1 - level / (high - low)):.1f}"

    parts = [f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img">']
    for share in (0.0, 0.5, 1.0):
        level = low + share * (high - low)
        y = 8 + (height - bottom - 8) * (1 - share)
        text = escape(_number(10**level if log else level, 3)) + (f" {unit}" if unit and share == 1 else "")
        parts.append(f'<line x1="{left:g}" x2="{width - 8:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:g}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<text x="{left:g}" y="{height - 6:g}">0</text>')
    last = f"{escape(axis)} {longest - 1}"
    parts.append(f'<text x="{width - 8:g}" y="{height - 6:g}" text-anchor="end">{last}</text>')
    for k, (name, values) in enumerate(shown.items()):
        for run in _runs(values):
            points = " ".join(place(i, value) for i, value in run)
            tip = f"<title>{escape(name)}</title>"
            parts.append(f'<polyline class="c{k % 8}" points="{points}">{tip}</polyline>')
    legend = "".join(f'<span><i class="c{k % 8}"></i>{escape(name)}</span>' for k, name in enumerate(shown))
    return "".join(parts) + f'</svg><p class="legend">{legend}</p>'


def _finite(value: float | None) -> float | None:
    """The number, or None where there is none to draw."""
    return float(value) if value is not None and math.isfinite(value) else None


def _runs(values: Sequence[float | None], most: int = 600) -> Iterator[list[tuple[int, float]]]:
    """Unbroken pieces of a curve, thinned to about `most` points in all; a lone point becomes a dot."""
    step = max(1, len(values) // most)
    run: list[tuple[int, float]] = []
    for i, value in enumerate(values):
        if value is None:
            if run:
                yield run if len(run) > 1 else run * 2
            run = []
        elif i % step == 0 or i == len(values) - 1:
            run.append((i, value))
    if run:
        yield run if len(run) > 1 else run * 2


def _stages(stages: Sequence[Mapping[str, Any]]) -> str:
    """Seconds of each stage as bars, with what came from the cache."""
    longest = max([float(stage.get("seconds") or 0) for stage in stages] or [0.0]) or 1.0
    rows = []
    for stage in stages:
        seconds = float(stage.get("seconds") or 0)
        badge = '<span class="badge">from cache</span>' if stage.get("cached") else ""
        rows.append(
            f"<tr><th>{escape(str(stage.get('name', '?')))}</th><td class='num'>{seconds:.2f} s</td>"
            f'<td class="bar"><i style="width:{100 * seconds / longest:.1f}%"></i>{badge}</td></tr>'
        )
    return f'<table class="stages">{"".join(rows)}</table>' if rows else ""


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and plain text."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and value and any(isinstance(item, Mapping) for item in value):
        for i, inner in enumerate(value):
            yield from _flatten(inner, f"{prefix}[{i}]")
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(str(item) for item in value) or "–"
    else:
        yield prefix, "–" if value is None or value == {} or value == "" else str(value)


def _table(values: Any) -> str:
    """A two-column table of everything in a mapping."""
    rows = [
        f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>" for key, text in _flatten(values) if key
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _notes(notes: Sequence[Any]) -> str:
    """What a reader should know, one sentence a line."""
    return f"<ul>{''.join(f'<li>{escape(str(note))}</li>' for note in notes)}</ul>" if notes else ""


def _origins(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers were made with: versions, generator, device, renderer, image loss."""
    made: dict[str, Any] = dict(manifest.get("versions") or {})
    made |= {
        key: manifest[key] for key in ("generator", "device", "renderer", "loss_used") if manifest.get(key)
    }
    return made


def _files(manifest: Mapping[str, Any]) -> str:
    """The files written, with their hashes where the manifest has them."""
    hashes = manifest.get("output_hashes") or {}
    rows = []
    for key, value in (manifest.get("outputs") or {}).items():
        digest = value.get("sha256") if isinstance(value, Mapping) else hashes.get(key)
        path, mark = escape(str(_path_of(value))), escape(str(digest or ""))
        rows.append(f"<tr><th>{escape(str(key))}</th><td>{path}</td><td class='hash'>{mark}</td></tr>")
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _section(title: str, content: str) -> str:
    """A titled part of the page, or nothing where it has no content."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""
