"""Inputs of cache keys beside the values of settings: contents of files, the generator, preset numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverters.encoders.file_pairs import files_of
from inverters.methods.table import ENCODERS, encoder_file
from pipeline.request.checks import device_of
from pipeline.request.edit_names import check_spaces, known_directions
from pipeline.request.edits import check_names
from pipeline.request.face_settings import all_edits, settings_of_face
from pipeline.stages.precision import precision_of
from pipeline.video.sequences import input_hash
from storage import file_hash, folder_hash

if TYPE_CHECKING:
    from inverters.base import Inversion
    from inverters.editing.directions import Direction
    from inverters.fitting.spaces import Space
    from pipeline.request.settings import Settings


class Models:
    """What a job loads once and its stages share: the generator and the directions of edits.

    note: told of files of directions that do not say which generator they are for.
    kept: folder of the cache, where the measured precision is kept; None measures anew.
    """

    def __init__(
        self, settings: Settings, note: Callable[[str], None] | None = None, kept: Path | None = None
    ) -> None:
        self._settings, self._note, self._kept = settings, note, kept

    @cached_property
    def device(self) -> str:
        """The device that the generator runs on, `cpu` or `cuda[:N]`."""
        return device_of(self._settings.device)

    @cached_property
    def generator(self) -> Any:
        """The generator (`inverters.generators.eg3d.Generator`), on the device."""
        from inverters.encoders.base_code import encoder_for
        from inverters.fitting.p_files import known_statistics, stored
        from inverters.generators.load import load_generator
        from inverters.memory import keep_freed_memory
        from inverters.rendering import backends

        keep_freed_memory()
        backends.request(self._settings.renderer)
        generator = load_generator(self._settings.generator, self.device)
        # What a space lacks is named before any stage: the layer of a base code, and statistics of P_N.
        space = self.space
        if space.base:
            block, encoder = space.block_of(generator), self._settings.invert.base_encoder
            if encoder is not None:
                encoder_for(generator, Path(encoder), block)
        if space.normalised and stored(generator):
            known_statistics(generator)
        chosen = self._settings.invert
        for name in ENCODERS:
            if name in (chosen.start, chosen.method):
                from inverters.methods.encoders import check_card

                check_card(name, chosen.encoder or "", generator)
        return generator

    @cached_property
    def precision(self) -> str:
        """Name of the precision of the generator's convolutions; it has it from then on."""
        from inverters.generators.precision import DTYPES

        name = precision_of(self.generator, self._settings.precision, self._kept)
        self.generator.precision = DTYPES[name]
        return name

    @property
    def working_generator(self) -> Any:
        """The generator in the precision of the job, for fits and renders."""
        _ = self.precision
        return self.generator

    @property
    def space(self) -> Space:
        """The latent space that codes are fitted in."""
        from inverters.fitting.spaces import find_space

        codes = getattr(self._settings.invert.of_method(), "codes", None)
        return find_space("w+" if codes is None else codes.space)

    @cached_property
    def directions(self) -> dict[str, Direction]:
        """Directions by the names that an edit can use. Raises UnknownNameError for an edit that has none."""
        known = known_directions(self.generator, self._settings.edit.directions, self._note)
        check_names(all_edits(self._settings), known)
        check_spaces(all_edits(self._settings), known, self.space)
        return known

    def renderer(self, inversion: Inversion) -> Any:
        """An `InversionRenderer` of this inversion."""
        from inverters.fields.synthesis import InversionRenderer

        return InversionRenderer(
            self.working_generator, inversion, self._settings.edit.base_code == "follows"
        )

    @property
    def renderer_name(self) -> str:
        """The renderer that runs: `cpu`, `cuda` or `reference`."""
        from inverters.rendering.backends import picked

        return str(picked(self.device.partition(":")[0], self.generator.config.widths))


class Facts:
    """Inputs of cache keys that are not plain settings; each is computed when a key asks for it."""

    def __init__(self, video: Path, settings: Settings, models: Models) -> None:
        self.video, self.settings, self.models = video, settings, models
        self.all_settings = settings
        """Those of the whole request, also where the facts are of one of its faces."""

    def of_face(self, place: int) -> Facts:
        """The facts of one of the faces asked for, by its place among them."""
        own = Facts(self.video, settings_of_face(self.settings, place), self.models)
        own.all_settings = self.all_settings
        return own

    @cached_property
    def content_hash(self) -> str:
        """Hash of the input's content."""
        return input_hash(self.video)

    @property
    def card(self) -> Any:
        """The generator's card (`inverters.generators.card.GeneratorCard`)."""
        return self.models.generator.card

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the generator's weights."""
        return str(self.card.fingerprint)

    @cached_property
    def detector_file(self) -> str | None:
        """SHA-256 of the landmark model that `--detector 3ddfa:PATH` names; None for others."""
        path = self.settings.track.detector.partition(":")[2]
        return file_hash(Path(path)) if path else None

    @cached_property
    def face_network(self) -> str | None:
        """SHA-256 of the network that tells people apart: that of `--face-network`, or the bundled one."""
        from inverters.generators.face_embedding import FACE_EMBEDDING_PATH

        return file_hash(Path(self.settings.track.face_network or FACE_EMBEDDING_PATH))

    @cached_property
    def labels(self) -> str | None:
        """SHA-256 of the file of camera labels; None without one."""
        path = self.settings.camera.labels
        return None if path is None else file_hash(Path(path))

    @cached_property
    def occluder_masks(self) -> str | None:
        """Hash of the folder of occluder masks; None without one."""
        path = self.settings.invert.occluder_masks
        return None if path is None else folder_hash(Path(path))

    @cached_property
    def face_masks(self) -> str | None:
        """Hash of the folder of face masks; None without one."""
        path = self.settings.composite.face_masks
        return None if path is None else folder_hash(Path(path))

    @cached_property
    def encoder(self) -> str | None:
        """Hash of the weights of the encoder that inverts or is begun at; None without one."""
        chosen = self.settings.invert
        name = next((n for n in (chosen.start, chosen.method) if n in ENCODERS), None)
        if name is None:
            return None
        path = Path(chosen.encoder) if chosen.encoder else encoder_file(name)
        there = [file_hash(part) for part in files_of(name, path) if part.is_file()]
        return "+".join(there) or "none"

    @cached_property
    def method_settings(self) -> dict[str, Any]:
        """The numbers of the method's preset."""
        found = asdict(self.settings.invert.of_method())
        if self.settings.invert.base_encoder is not None:
            found["codes"]["base_encoder"] = file_hash(Path(self.settings.invert.base_encoder))
        return found

    @cached_property
    def judge(self) -> dict[str, str]:
        """SHA-256 of the network whose features the fit of codes compares; {} where it compares none."""
        from inverters.generators.judge import JUDGE_PATH

        codes = self.method_settings.get("codes") or {}
        return {"judge": file_hash(JUDGE_PATH)} if codes.get("lambda_features") else {}

    @cached_property
    def p_statistics(self) -> dict[str, int]:
        """Number of codes of the statistics of P_N that the generator has; {} in spaces without P_N."""
        from inverters.fitting.p_files import load_statistics, stored

        if not self.models.space.normalised:
            return {}
        path = stored(self.models.generator)
        return {} if path is None else {"p_n": load_statistics(path).samples}

    @cached_property
    def perceptual_weights(self) -> dict[str, bool]:
        """Which LPIPS weights are in the local cache: without them another loss takes their place."""
        from inverters.fitting.losses import lpips_weights

        return {f"lpips-{net}": lpips_weights(net) is not None for net in ("vgg", "alex")}

    @cached_property
    def direction_digests(self) -> dict[str, str]:
        """By the name of each edit, a hash of the numbers of its direction."""
        return {edit.name: self.models.directions[edit.name].digest() for edit in self.settings.edit.edits}


def no_facts(facts: Facts) -> None:
    """The result depends on settings and other results alone."""
