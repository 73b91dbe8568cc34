"""Tags of a file: which are carried into an output, which are withheld, which the container lost."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "timecode"}
"""Tags that describe the file itself; `timecode` becomes a track of its own kind."""
_PLACE_KEY = re.compile(r"location|gps|latitude|longitude|altitude|\bxyz", re.IGNORECASE)
_PLACE_VALUE = re.compile(r"\s*[+-]\d+(\.\d+)?[+-]\d+(\.\d+)?([+-]\d+(\.\d+)?)?(CRS\w*)?/?\s*")
"""ISO 6709, such as +48.1000+011.5000/."""
_MAC_LANGUAGES = {
    "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "cze": "ces", "nld": "dut",
    "fre": "fra", "kat": "geo", "deu": "ger", "ell": "gre", "isl": "ice", "mkd": "mac", "msa": "may",
    "fas": "per", "rum": "ron", "slo": "slk", "bod": "tib", "cym": "wel", "swe": "sve",
}  # fmt: skip
"""The names by which FFmpeg finds QuickTime's codes of these languages."""
_MOST_CHARACTERS, _MOST_KEYS = 4096, 100
_MOST_SHOWN, _MOST_LISTED = 60, 10
PLACE_WITHHELD = "the place of recording was withheld; --keep-location keeps it"


def is_place(key: str, value: str) -> bool:
    """True for a tag that says where the video was recorded."""
    return bool(_PLACE_KEY.search(key) or _PLACE_VALUE.fullmatch(value))


def is_carried(key: str, value: str, keep_location: bool) -> bool:
    """True for a tag that belongs into the output."""
    return key.lower() not in _OF_THE_FILE and (keep_location or not is_place(key, value))


def file_words(
    tags: Mapping[str, str], comment: str, keep_location: bool, timecode: str, format_name: str
) -> list[str]:
    """Options of FFmpeg that make the tags of a file with `tags` those of the output.

    The source's comment becomes the description where it has none, since `comment` takes its place.
    """
    found = {key: "" for key, value in tags.items() if not is_carried(key, value, keep_location)}
    source = "1"
    if not _can_be_named(found):
        found, source = {}, "-1"
    if not value_of(tags, "description") and value_of(tags, "comment"):
        found["description"] = value_of(tags, "comment")[:_MOST_CHARACTERS]
    if timecode:
        found["timecode"] = timecode
    place = value_of(tags, "com.apple.quicktime.location.iso6709")
    if keep_location and place and not value_of(tags, "location") and format_name == "mp4":
        found["location"] = place[:_MOST_CHARACTERS]
    found["comment"] = comment
    words = [word for key, value in found.items() for word in ("-metadata", f"{key}={value}")]
    return ["-map_metadata", source, *words]


def tag_words(place: int, tags: Mapping[str, str], keep_location: bool, format_name: str) -> list[str]:
    """The same for the output's track number `place`: its title, language and what is withheld."""
    found = {key: "" for key, value in tags.items() if not keep_location and is_place(key, value)}
    if not _can_be_named(found):
        return [f"-map_metadata:s:{place}", "-1"]
    if not value_of(tags, "title") and track_name(tags):
        found["title"] = track_name(tags)[:_MOST_CHARACTERS]
    language = track_language(tags)
    if format_name == "mov" and language in _MAC_LANGUAGES:
        found["language"] = _MAC_LANGUAGES[language]
    return [word for key, value in found.items() for word in (f"-metadata:s:{place}", f"{key}={value}")]


def _can_be_named(keys: Collection[str]) -> bool:
    """Whether each of these keys can be an option; if not, no tag is carried, rather than one too many."""
    odd = any(not key or "=" in key or "\ufffd" in key or len(key) > _MOST_CHARACTERS for key in keys)
    return not odd and len(keys) <= _MOST_KEYS


def lost(before: Mapping[str, str], after: Mapping[str, str], keep_location: bool) -> list[str]:
    """Keys of the tags that should have been carried and are not there."""
    there = {key.lower() for key in after}
    values = set(after.values())
    return [
        in_one_line(key)
        for key, value in before.items()
        if is_carried(key, value, keep_location) and key.lower() not in there and value not in values
    ]


def time_code_in(tags: Mapping[str, str]) -> str:
    """The time code that tags say, such as 01:02:03:04; an empty text where there is none."""
    said = value_of(tags, "timecode")
    return said if re.fullmatch(r"\d{1,2}:\d\d:\d\d[:;.]\d{1,3}", said) else ""


def value_of(tags: Mapping[str, str], key: str) -> str:
    """Value of a tag whatever its case, an empty text where it is not there: Matroska has `TIMECODE`."""
    return next((value for name, value in tags.items() if name.lower() == key), "")


def track_name(tags: Mapping[str, str]) -> str:
    """Title of a track, or an empty text; the demuxer of QuickTime calls it `name`."""
    return value_of(tags, "title") or value_of(tags, "name")


def track_language(tags: Mapping[str, str]) -> str:
    """Language of a track, or an empty text where it is not said."""
    language = value_of(tags, "language")
    return "" if language == "und" else language


def in_one_line(text: str) -> str:
    """Text of a file as a note shows it: one line of up to 60 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 3]}..."


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
