"""Mutations of files whose format is known, so that checksums and lengths hold and a reader gets further."""

from __future__ import annotations

import contextlib
import io
import json
import pickletools
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from benchmarks.fuzz_bytes import EXTREMES, Rng, mutated, pick

Mutation = Callable[[Rng, bytes], tuple[bytes, str]]
RAW = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1", "0", "-0.0", "0.5", "9223372036854775808", "1e308"),
    *("null", "true", "false", "[]", "{}", '""', '"x"', "[[1]]", '{"a": 1}', "[1, 2, 3]", "[null]"),
    *('"\\u0000"', '"\\ud800"', '"\\u001b[31m\\u202e"', '"../../outside/secret.txt"', '"/etc/passwd"'),
    *('"."', '""', '"a b\\nc"', '"http://example.invalid/x"', '"１２"', "18446744073709551616", "-1e30"),
    *("[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "9" * 5000),
    *('"' + "x" * 100_000 + '"', "[" + "0," * 100_000 + "0]", "[[[[[[[[[[0]]]]]]]]]]", '"1e400"', '"nan"'),
)
"""JSON texts that take the place of a value."""
KEYS = (
    "",
    "x",
    "__class__",
    "\u0000",
    "../x",
    "format",
    "labels",
    "name",
    "dtype",
    "\ud800",
    "1",
    "a" * 5000,
)
YAML = (
    "? [a, b]\n: 1\n", "a: &a [x]\nb: *a\n", "<<: {seed: 1}\n", "- x\n", "---\n", "...\n---\nseed: 2\n",
    "seed: !!python/name:os.system\n", "seed: !!binary aGk=\n", "seed: 2024-01-01\n", "seed: 0o17\n",
    "seed: 1_000\n", "seed: 1:30:00\n", "seed: .nan\n", "seed: .inf\n", "\t- x\n", "\ufeff",
    "%YAML 9.9\n---\n", "seed: |\n  12\n", "'\u001b[31m': 1\n", "x: [[[[]]]]\n",
    "generator: ../../outside/secret.safetensors\n",
    "occluder_masks: ../../outside\n", "directions: [link]\n", "max_frames: 1e400\n", "view: yaw=nan\n",
    "edit: ['smile=1e400', 'smile=nan@0-1s', '=1', 'smile', 'smile=1@-1-2s', 'smile=１２']\n", "~: ~\n",
)  # fmt: skip
"""Lines that YAML reads in unexpected ways."""


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside lists and tables, not deeper than 8 and at most 400."""
    waiting, given = [(value, 0)], 0
    while waiting:
        one, depth = waiting.pop(0)
        keys = range(len(one)) if isinstance(one, list) else list(one) if isinstance(one, dict) else ()
        for key in keys:
            given += 1
            if given > 400:
                return
            yield one, key
            if depth < 8:
                waiting.append((one[key], depth + 1))


def mutated_json(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """A value replaced, or a key removed, renamed or given twice; the text stays JSON in most cases."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutated(rng, data)
    found = list(_places(value))
    if not found:
        return mutated(rng, data)
    container, key = found[int(rng.integers(len(found)))]
    what = pick(rng, ("value", "value", "value", "removed", "renamed", "twice", "wrapped", "moved"))
    token = ""
    if what == "value":
        token = pick(rng, RAW)
        container[key] = "\u0001token"
    elif what == "removed":
        del container[key]
    elif what == "wrapped":
        container[key] = [container[key]] if rng.random() < 0.5 else {"x": container[key]}
    elif what == "moved":
        other, place = found[int(rng.integers(len(found)))]
        with contextlib.suppress(KeyError, IndexError):
            container[key] = json.loads(json.dumps(other[place]))
    elif isinstance(container, dict):
        renamed = pick(rng, KEYS) if what == "renamed" else "\u0001twice" + str(key)
        container[renamed] = container.pop(key) if what == "renamed" else "x"
    text = json.dumps(value, indent=1).replace('"\\u0001token"', token).replace("\\u0001twice", "")
    return text.encode(), f"json {what} {str(key)[:20]!r} {token[:24]}".rstrip()


def mutated_yaml(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """As JSON, which is YAML; or with odd lines among the others."""
    if rng.random() < 0.4:
        with contextlib.suppress(yaml.YAMLError, TypeError, ValueError, RecursionError):
            return mutated_json(rng, json.dumps(yaml.safe_load(data), default=str).encode())
    lines = data.decode(errors="replace").splitlines(keepends=True)
    line = pick(rng, YAML)
    lines.insert(int(rng.integers(len(lines) + 1)), line)
    return "".join(lines).encode(), f"yaml {line[:30]!r}"


def mutated_png(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """One chunk changed, doubled or taken away; its checksum fits."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return mutated(rng, data)
    number = int(rng.integers(len(chunks)))
    kind, body = chunks[number]
    what = pick(rng, ("size", "size", "body", "doubled", "removed", "kind"))
    if what == "size" and chunks[0][0] == b"IHDR":
        sizes = (0, 1, 4, 60000, 0x7FFFFFFF, 0xFFFFFFFF)
        size = struct.pack(">II", *(pick(rng, sizes) for _ in "wh"))
        chunks[0] = (b"IHDR", size + chunks[0][1][8:])
    elif what == "doubled":
        chunks.insert(number, chunks[number])
    elif what == "removed":
        del chunks[number]
    elif what == "kind":
        chunks[number] = (pick(rng, (b"acTL", b"tRNS", b"iCCP", b"zTXt", b"PLTE", b"eXIf")), body)
    else:
        chunks[number] = (kind, mutated(rng, body)[0])
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return data[:8] + b"".join(packed), f"png {what} {kind.decode(errors='replace')}"


def _boxes(data: bytes, start: int, stop: int, depth: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """(start, stop, kind) of every box of an ISO base media file, those inside others too."""
    while start + 8 <= stop:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        end = start + size if 8 <= size <= stop - start else stop
        yield start, end, kind
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex"):
            yield from _boxes(data, start + 8, end, depth + 1)
        start = end


def mutated_boxes(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """One box of an MP4 or MOV file changed inside, doubled, removed, renamed or given another length."""
    found = [box for box in _boxes(data, 0, len(data)) if box[2] != b"mdat"]
    if not found:
        return mutated(rng, data)
    start, stop, kind = found[int(rng.integers(len(found)))]
    what = pick(rng, ("inside", "inside", "inside", "number", "number", "doubled", "removed", "length"))
    body = data[start + 8 : stop]
    if what == "inside":
        changed, what = mutated(rng, body)
        new = struct.pack(">I", 8 + len(changed)) + kind + changed
    elif what == "number":
        at = 4 * int(rng.integers(max(1, min(len(body), 200) // 4)))
        value = pick(rng, EXTREMES)
        new = data[start : start + 8] + body[:at] + struct.pack(">I", value) + body[at + 4 :]
    elif what == "length":
        new = struct.pack(">I", pick(rng, EXTREMES)) + data[start + 4 : stop]
    else:
        new = data[start:stop] * 2 if what == "doubled" else b""
    return data[:start] + new + data[stop:], f"box {kind.decode(errors='replace')} {what}"


_OPCODES = (
    b"r\xff\xff\xff\xff", b"p4294967295\n", b"j\xff\xff\xff\xff", b"\x8d" + b"\xff" * 8,
    b"\x8e" + b"\xff" * 8, b"\x95" + b"\xff" * 8, b"\x96" + b"\xff" * 8, b"B\xff\xff\xff\x7f",
    b"X\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"\x84\xff\xff\xff\x7f", b"\x82\x01",
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"c__main__\nx\n", b"R", b"\x81", b"b", b"(", b"t", b"l",
    b"d", b"0", b"2", b"u", b"s", b"e", b"a", b"Q", b"K\x01", b"N", b"}", b"]", b")", b"U\xff", b"I-1\n",
    b".",
    b"2\x86" * 40, b"2\x86" * 3000, b"L" + b"9" * 5000 + b"L\n", b"G\x7f\xf0" + bytes(6), b"\x80\xff",
    b"]" * 100_000 + b"a" * 99_999, b"}" + b"2\x86" * 60 + b"K\x01s", b"\x97", b"\x98",
)  # fmt: skip
"""Pieces of a pickle: memo indices and lengths of gigabytes, calls, copies of copies, deep lists."""


def mutated_pickle(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """Opcodes inserted, removed, doubled or changed, at their borders."""
    borders = [0]
    with contextlib.suppress(Exception):  # a stream that is damaged already
        borders += [at for _, _, at in pickletools.genops(data) if at is not None]
    number = int(rng.integers(len(borders)))
    start = borders[number]
    stop = borders[number + 1] if number + 1 < len(borders) else len(data)
    what = pick(rng, ("inserted", "inserted", "removed", "doubled", "argument", "started"))
    if what == "inserted":
        piece = pick(rng, _OPCODES)
        return data[:start] + piece + data[start:], f"pickle {piece[:12]!r}"
    if what == "started":
        piece = pick(rng, _OPCODES) + b"."
        return data[:2] + piece, f"pickle of {piece[:12]!r}"
    if what == "argument" and stop - start > 1:
        return data[: start + 1] + mutated(rng, data[start + 1 : stop])[0] + data[stop:], "pickle argument"
    return data[:start] + data[start:stop] * (2 if what == "doubled" else 0) + data[stop:], f"pickle {what}"


def mutated_zip(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """One entry changed, doubled, renamed, removed, or compressed; the archive is whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(name, archive.read(name)) for name in archive.namelist()]
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError):
        return mutated(rng, data)
    if not entries:
        return mutated(rng, data)
    number = int(rng.integers(len(entries)))
    name, body = entries[number]
    what = pick(rng, ("inside", "inside", "inside", "doubled", "removed", "renamed", "bomb", "added"))
    if what == "inside":
        change = (
            mutated_pickle if name.endswith(".pkl") else mutated_npy if name.endswith(".npy") else mutated
        )
        body, what = change(rng, body)
        entries[number] = (name, body)
    elif what == "removed":
        del entries[number]
    elif what == "renamed":
        entries[number] = (
            pick(rng, ("../x", "/x", "x", "x/data.pkl", name + ".npy", "\u202ex", "x" * 5000)),
            body,
        )
    elif what == "added":
        entries.append((pick(rng, ("y/data.pkl", "archive/byteorder", "extra.npy")), b"big"))
    elif what == "bomb":
        entries[number] = (name, body + bytes(1 << 22))
    else:
        entries.append(entries[number])
    packed = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if what == "bomb" or rng.random() < 0.1 else zipfile.ZIP_STORED
    with zipfile.ZipFile(packed, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for entry, content in entries:
            archive.writestr(zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0)), content, method)
    return packed.getvalue(), f"zip {name[-20:]} {what}"


def mutated_npy(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """The header of a numpy array with another shape or type; its length fits."""
    shapes = (
        "(-1,)",
        "(2**62,)",
        "(1<<40, 4)",
        "(0,)",
        "()",
        "(4,) * 100",
        "(9223372036854775807, 2)",
        "('a',)",
        "nan",
        "(1099511627776,)",
        "(4294967296, 4294967296)",
        "(True,)",
        "(1.5,)",
        "(" * 300 + ")" * 300,
    )
    types = (
        "'O'",
        "'<f4'",
        "'<U9'",
        "'>f8'",
        "'V16'",
        "'<f16'",
        "[('a','<f4')]",
        "'<M8[s]'",
        "'|S0'",
        "1",
        "'<c8'",
    )
    if rng.random() < 0.3 or not data.startswith(b"\x93NUMPY"):
        return mutated(rng, data)
    shape, kind = pick(rng, shapes), pick(rng, types) if rng.random() < 0.5 else "'<f4'"
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n"
    return data[:8] + struct.pack("<H", len(text)) + text.encode() + data[-64:], f"npy {kind} {shape[:24]}"


def mutated_safetensors(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """The header changed as JSON, with its length; or any byte."""
    if rng.random() < 0.4 or len(data) < 8:
        return mutated(rng, data)
    length = int.from_bytes(data[:8], "little")
    header, what = mutated_json(rng, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :], f"safetensors {what}"


def mutated_tar(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """With an entry that leads elsewhere, or with an entry changed inside."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = [(one, archive.extractfile(one)) for one in archive if one.isreg()]
            entries = [(one, file.read() if file else b"") for one, file in files]
    except (tarfile.TarError, OSError, ValueError):
        return mutated(rng, data)
    names = (
        "../x",
        "/../x",
        "manifest.json",
        "arrays/x/c.0",
        "a/../../../outside/x",
        "x" * 300,
        "files/link",
        ".",
    )
    kinds = (
        tarfile.REGTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
    )
    info = tarfile.TarInfo(pick(rng, names))
    info.type = pick(rng, kinds)
    info.linkname = pick(rng, ("../../outside/secret.txt", "/etc/passwd", ".", "manifest.json", "files"))
    where = int(rng.integers(len(entries) + 1))
    entries.insert(where, (info, b""))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for one, body in entries:
            archive.addfile(one, io.BytesIO(body))
    return packed.getvalue(), f"tar {info.name[:24]} of type {info.type!r} to {info.linkname}"


FORMATS: dict[str, Mutation] = {
    ".json": mutated_json,
    ".yaml": mutated_yaml,
    ".png": mutated_png,
    ".apng": mutated_png,
    **dict.fromkeys((".mp4", ".mov", ".m4v", ".3gp"), mutated_boxes),
    ".pkl": mutated_pickle,
    **dict.fromkeys((".npz", ".pt", ".pth"), mutated_zip),
    ".npy": mutated_npy,
    ".safetensors": mutated_safetensors,
    ".tar": mutated_tar,
}
"""Mutation by the ending of a file's name."""
