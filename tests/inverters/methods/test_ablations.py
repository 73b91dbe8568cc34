"""In-N-Out without the terms that its table 3 leaves out."""

from __future__ import annotations

import pytest

from inverters.errors import UnknownNameError
from inverters.methods.table import find_method, settings_of
from tests.inverters.tiny import invert, own_clip, tiny, tiny_generator

BLEND = {"joint/entropy", "joint/area", "joint/price"}


@pytest.mark.parametrize("preset", ["draft", "fast", "paper", "released-masked"])
def test_an_ablation_leaves_out_its_terms_and_nothing_else(preset: str) -> None:
    method = find_method("in-n-out")
    whole, blend, codes = (
        settings_of(method, preset, without) for without in ((), ("no-entropy",), ("no-latent-reg",))
    )
    assert blend.codes == whole.codes and blend.tune == codes.tune == whole.tune
    assert whole.joint.lambda_entropy and not blend.joint.lambda_entropy
    assert codes.joint.lambda_entropy == whole.joint.lambda_entropy
    assert not (codes.codes.lambda_delta or codes.codes.prior or codes.joint.lambda_w)
    assert settings_of(method, f"{preset}/no-entropy", ("no-latent-reg",)).joint.lambda_w == 0
    assert blend.name == f"{preset}/no-entropy"


def test_losses_that_are_left_out_are_not_in_the_history() -> None:
    generator = tiny_generator()
    problem = own_clip(generator, 2, occluder=True)
    ablations = find_method("in-n-out").ablations
    settings = tiny("in-n-out")
    whole, blend, codes = (
        set(invert("in-n-out", generator, problem, chosen, steps=6).history)
        for chosen in (settings, *(leave_out(settings) for leave_out in ablations.values()))
    )
    assert whole & BLEND and not blend & BLEND
    assert blend == whole - BLEND
    assert whole - codes == {"codes/delta", "codes/prior"}


def test_unknown_ablations_are_listed() -> None:
    with pytest.raises(
        UnknownNameError, match="unknown ablation 'no-sound'; known for in-n-out: no-entropy, no-latent-reg"
    ):
        settings_of(find_method("in-n-out"), "draft/no-sound")
