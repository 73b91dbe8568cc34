"""The cut of a person's hair: numbers of its growth, which change continuously with the person's values."""

from __future__ import annotations

from dataclasses import dataclass

from inverters.people.body import ancestry_of, gender_of
from inverters.people.params import Values
from inverters.people.ramps import rise_of


@dataclass(frozen=True)
class Style:
    """Lengths in world units; shares in [0,1]."""

    level: float
    """0 shorn, .2 cropped, .4 short, .6 chin-long, .8 on the shoulders, 1 below."""
    arc: float
    """Length of the hair of the crown."""
    fall: float
    """Height at which long hair ends."""
    long: float
    """Share of long hair's ways: one length, falling."""
    sides: float
    """Length at the sides and behind, as a share of `arc`."""
    volume: float
    wave: float
    """Share of wavy hair."""
    curl: float
    """Share of curls."""
    tight: float
    """Share of tight curls, which stand out."""
    tousled: float
    part: float
    """x of the parting on the base mesh."""
    tuck: float
    """How far the tips of chin-long hair turn in."""
    sideways: float
    """How far short hair is combed to the side instead of forward."""
    tie: float
    bun: float
    """Of hair tied back: a bun instead of a pony tail."""
    tie_height: float
    fringe: float
    recession: float
    bald: float
    thin_crown: float
    hairline_shift: float
    presence: float
    """0 for a head that is bald all over."""


def along(value: float, at: tuple[float, ...], of: tuple[float, ...]) -> float:
    """Interpolate linearly between the values `of` at the places `at`."""
    for k in range(1, len(at)):
        if value <= at[k]:
            share = max((value - at[k - 1]) / (at[k] - at[k - 1]), 0.0)
            return of[k - 1] + share * (of[k] - of[k - 1])
    return of[-1]


def style_of(values: Values, row: int = 0) -> Style:
    """Return the style of person `row` of values [N,1]."""
    v = {name: float(values[name][row, 0]) for name in _READ}
    woman = rise_of(gender_of(values, row), 0.3, 0.7)
    african, asian, _ = ancestry_of(values, row).tolist()
    level = _level(v["hair_length"], woman)
    curl = _curl(v["hair_curl"], african, asian, woman)
    tight = rise_of(curl, 0.74, 0.92)
    long = rise_of(level, 0.44, 0.56)
    recession = (1 - woman) * rise_of(v["hairline"], 0.25, 1.0) * rise_of(v["age"], 22.0, 52.0)
    tie = rise_of(v["hair_tie"], 0.655, 0.68) * rise_of(level, 0.54, 0.58)
    bare = (1 - rise_of(recession, 0.1, 0.5)) * (1 - tight) * rise_of(level, 0.18, 0.36)
    return Style(
        level=level,
        arc=along(level, _LEVELS, _ARCS),
        fall=along(level, (0.50, 0.58, 0.68, 0.80, 1.0), (-0.03, -0.12, -0.22, -0.36, -0.62)),
        long=long,
        sides=along(level, (0.0, 0.15, 0.3, 0.45, 0.55), (1.0, 0.65, 0.42, 0.5, 1.0)),
        volume=v["hair_volume"],
        wave=rise_of(curl, 0.22, 0.5) * (1 - rise_of(curl, 0.62, 0.75)),
        curl=rise_of(curl, 0.5, 0.66),
        tight=tight,
        tousled=max(rise_of(curl, 0.25, 0.6), 0.8 * rise_of(v["hair_volume"], 0.55, 0.95)),
        part=0.085 * v["hair_part"] * (1 - 0.6 * tight),
        tuck=rise_of(level, 0.48, 0.56) * rise_of(level, 0.76, 0.64),
        sideways=rise_of(abs(v["hair_part"]), 0.25, 0.6),
        tie=tie,
        bun=rise_of(v["hair_tie"], 0.82, 0.85),
        tie_height=0.05 + 0.10 * abs((v["hair_tie"] * 6) % 2 - 1),
        fringe=max(0.0, 3 * v["fringe"] - 2) * (1 - 0.7 * tie) * bare,
        recession=recession,
        bald=rise_of(recession, 0.62, 0.95),
        thin_crown=0.97 * rise_of(recession, 0.35, 0.85),
        hairline_shift=0.016 * (v["hairline"] - 0.5) * (1 - recession),
        presence=rise_of(v["hair_length"], 0.0, 0.02),
    )


def _level(length: float, woman: float) -> float:
    man_level = along(length, (0.0, 0.10, 0.62, 0.86, 1.0), (0.0, 0.10, 0.42, 0.56, 0.92))
    woman_level = along(
        length, (0.0, 0.02, 0.10, 0.20, 0.28, 0.60, 1.0), (0.0, 0.14, 0.34, 0.46, 0.56, 0.78, 1.0)
    )
    return man_level + woman * (woman_level - man_level)


def _curl(curl: float, african: float, asian: float, woman: float) -> float:
    """African hair is curly to tightly curled (some women straighten it), Asian hair straight."""
    own = curl**1.25
    own += (
        max(0.0, african - 0.2)
        / 0.8
        * (0.70 + 0.30 * curl - own)
        * (1 - 0.6 * woman * rise_of(curl, 0.3, 0.1))
    )
    return own * (1 - 0.6 * max(0.0, asian - 0.3) / 0.7)


_LEVELS = (0.0, 0.08, 0.16, 0.25, 0.35, 0.45, 0.56, 0.68, 0.80, 1.0)
_ARCS = (0.003, 0.007, 0.020, 0.040, 0.085, 0.135, 0.34, 0.48, 0.62, 0.85)
_READ = (
    *("hair_length", "hair_curl", "hair_volume", "hair_tie", "hair_part"),
    *("fringe", "hairline", "age"),
)
