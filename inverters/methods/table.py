"""The table of inversion methods by name. Importing it loads neither torch nor a method.

A method from another package is declared by an entry point in that package's `pyproject.toml`:

    [project.entry-points."invid.methods"]
    my-method = "my_package.my_method:METHOD"
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverters.errors import InverterError, UnknownNameError

if TYPE_CHECKING:
    from inverters.base import Method

METHODS = {
    "e3dge": "inverters.methods.encoders:E3DGE",
    "e4e": "inverters.methods.encoders:E4E",
    "e4e-mask": "inverters.methods.encoders:E4E_MASK",
    "goae": "inverters.methods.encoders:GOAE",
    "goae-w+": "inverters.methods.encoders:GOAE_W",
    "hfgi3d": "inverters.methods.hfgi3d:METHOD",
    "in-n-out": "inverters.methods.in_n_out:METHOD",
    "pose-opt": "inverters.methods.pose_opt:METHOD",
    "psp": "inverters.methods.encoders:PSP",
    "pti": "inverters.methods.pti:METHOD",
    "sam": "inverters.methods.sam:METHOD",
    "vive3d": "inverters.methods.vive3d:METHOD",
    "triplanenet": "inverters.methods.encoders:TRIPLANENET",
    "w": "inverters.methods.w:METHOD",
    "w+": "inverters.methods.w_plus:METHOD",
}
"""The methods of this package: name -> "module:attribute"."""

ENCODERS = ("e3dge", "e4e", "e4e-mask", "goae", "goae-w+", "psp", "triplanenet")
"""Those of them that are encoders: other methods can begin from their inversion."""

BEGIN = {"draft": "e4e-mask", "fast": "e4e-mask"}
"""The encoder that the fit of a preset begins at where nothing else is asked for and the generator is the one
that it was trained for.
"""
BEGUN = ("hfgi3d", "in-n-out", "pose-opt", "pti", "w", "w+")
"""The methods whose presets have numbers for such a fit."""

BASE_CODE = "base-code"
"""The encoder of base codes (`encoders.base_code`): it is no method, and is trained by the same command."""

GROUP = "invid.methods"
"""Group of the entry points by which other packages add methods."""


def encoder_file(name: str) -> Path:
    """Return where the encoder of this name for the bundled generator is, if it is shipped."""
    return Path(__file__).parent.parent / "encoders" / f"bundled-{name}.safetensors"


def method_names() -> list[str]:
    """Return the names of all methods, sorted, without importing any."""
    return sorted(METHODS.keys() | _declared().keys())


def find_method(name: str) -> Method[Any]:
    """Import and return the method called `name`; names of this package take precedence.

    Raises:
        UnknownNameError: no such method; the message lists those that exist.
        InverterError: another package declares it, but it cannot be imported or is not a `Method`.
    """
    if name in METHODS:
        module, _, attribute = METHODS[name].partition(":")
        found: Method[Any] = getattr(import_module(module), attribute)
        return found
    declared = _declared()
    if name not in declared:
        raise UnknownNameError(f"unknown inversion method '{name}'; known: {', '.join(method_names())}")
    return _loaded(declared[name])


def settings_of(
    method: Method[Any],
    preset: str,
    without: tuple[str, ...] = (),
    space: str | None = None,
    base: Mapping[str, Any] | None = None,
    begins: bool = False,
) -> Any:
    """Return a method's settings by the preset's name, with the terms named in `without` left out.

    Args:
        method: owner of presets and ablations.
        preset: `draft`; or `draft/no-entropy`, which is `draft` without `no-entropy`.
        without: more ablations by name.
        space: latent space to fit the codes in; None: the preset's.
        base: what is chosen of a base code: `skip`, `base_encoder` of `CodeSettings`; None: as the preset.
        begins: the fit begins at what an encoder told.

    Returns:
        The method's settings; their `name` lists what is left out, as in `draft/no-entropy`.

    Raises:
        UnknownNameError: no such preset, ablation or space; the message lists those that the method has.
        InverterError: the settings have no form in this space, or `base` is given in one without a base code.
    """
    preset, *more = preset.split("/")
    if preset not in method.presets:
        raise UnknownNameError(
            f"unknown preset '{preset}'; known for {method.name}: {', '.join(method.presets)}"
        )
    settings = method.presets[preset]
    for name in (*more, *without):
        if name not in method.ablations:
            known = ", ".join(method.ablations) or "none"
            raise UnknownNameError(f"unknown ablation '{name}'; known for {method.name}: {known}")
        settings = dataclasses.replace(method.ablations[name](settings), name=f"{settings.name}/{name}")
    settings = settings if space is None else _in_space(method, settings, space)
    settings = _with_base(method, settings, base) if base else settings
    return _begun(settings) if begins else settings


def _in_space(method: Method[Any], settings: Any, name: str) -> Any:
    """The settings for a fit of the codes in another latent space."""
    from inverters.fitting.code_settings import in_space
    from inverters.fitting.spaces import find_space

    if find_space(name).family not in method.spaces:
        takes = f"takes {', '.join(sorted(method.spaces))}" if method.spaces else "has a space of its own"
        raise UnknownNameError(f"{method.name} cannot fit codes in {name}; it {takes}")
    return dataclasses.replace(settings, codes=in_space(settings.codes, name))


def _begun(settings: Any) -> Any:
    """The settings for a fit that begins at what an encoder told."""
    from inverters.fitting.code_settings import begun

    codes = getattr(settings, "codes", None)
    return settings if codes is None else dataclasses.replace(settings, codes=begun(codes))


def _with_base(method: Method[Any], settings: Any, base: Mapping[str, Any]) -> Any:
    """The settings with choices about the base code."""
    from inverters.fitting.spaces import find_space

    codes = getattr(settings, "codes", None)
    if codes is None or not find_space(codes.space).base:
        where = "has no codes" if codes is None else f"has codes in {codes.space}"
        raise InverterError(
            f"{method.name} {where}, without a base code; give --space f/z+, or f/ of another"
        )
    return dataclasses.replace(settings, codes=dataclasses.replace(codes, **base))


def _declared() -> dict[str, EntryPoint]:
    """Entry points of other packages by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> Method[Any]:
    from inverters.base import Method

    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise InverterError(f"method '{entry.name}' ({entry.value}) cannot be imported: {error}") from error
    if not isinstance(found, Method):
        raise InverterError(f"'{entry.value}' is no inverters.base.Method, but {type(found).__name__}")
    return found
