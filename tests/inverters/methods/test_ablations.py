"""In-N-Out without the terms that its table 3 leaves out."""

from __future__ import annotations

import pytest

from inverters.base import get_inverter
from inverters.errors import UnknownNameError
from inverters.methods.presets import get_preset
from tests.inverters.tiny import own_clip, tiny_generator

BLEND = {"joint/entropy", "joint/area", "joint/price"}


@pytest.mark.parametrize("preset", ["draft", "fast", "paper", "released-masked"])
def test_an_ablation_leaves_out_its_terms_and_nothing_else(preset: str) -> None:
    whole, blend, codes = (get_preset(f"{preset}{end}") for end in ("", "/no-entropy", "/no-latent-reg"))
    assert blend.codes == whole.codes and blend.tune == codes.tune == whole.tune
    assert whole.joint.lambda_entropy and not blend.joint.lambda_entropy
    assert codes.joint.lambda_entropy == whole.joint.lambda_entropy
    assert not (codes.codes.lambda_delta or codes.codes.prior or codes.joint.lambda_w)
    assert get_preset(f"{preset}/no-entropy/no-latent-reg").joint.lambda_w == 0
    assert blend.name == f"{preset}/no-entropy"


def test_losses_that_are_left_out_are_not_in_the_history() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 2, occluder=True)
    invert = get_inverter("in-n-out")
    whole, blend, codes = (
        set(invert(generator, problem, preset=f"tiny{end}", steps=6).history)
        for end in ("", "/no-entropy", "/no-latent-reg")
    )
    assert whole & BLEND and not blend & BLEND
    assert blend == whole - BLEND
    assert whole - codes == {"codes/delta", "codes/prior"}


def test_unknown_ablations_are_listed() -> None:
    with pytest.raises(
        UnknownNameError, match="unknown ablation 'no-sound'; known: no-entropy, no-latent-reg"
    ):
        get_preset("draft/no-sound")
