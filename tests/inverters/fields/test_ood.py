"""The out-of-distribution field: the released decoder's arithmetic, and how it begins."""

from __future__ import annotations

import torch
from torch import nn

from inverters.fields.ood import OODInit, initial_field, ood_field
from inverters.generators.layers import FullyConnected


def fresh(**changes: float) -> dict[str, torch.Tensor]:
    init = OODInit(resolution=8, **changes)
    return initial_field(init, 4, 6, 3, torch.Generator().manual_seed(0))


def decode(
    tensors: dict[str, torch.Tensor], features: torch.Tensor, phi: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    return ood_field(tensors, phi).decoder.with_blend(features)


def test_decoding_equals_a_plain_network_on_the_concatenation() -> None:
    tensors = fresh()
    network = nn.Sequential(FullyConnected(4 + 32, 64), nn.Softplus(), FullyConnected(64, 1 + 6 + 1))
    network.load_state_dict({k.removeprefix("decoder.net."): v for k, v in tensors.items() if "net" in k})
    features, phi = torch.randn(3, 10, 4), tensors["phi"]
    with torch.no_grad():
        out = network(torch.cat([features, phi[:, None].expand(-1, 10, -1)], -1))
    sigma, colour, blend = decode(tensors, features, phi)
    assert torch.allclose(sigma, out[..., 0], atol=1e-5)
    assert torch.allclose(colour, torch.sigmoid(out[..., 1:-1]) * 1.002 - 0.001, atol=1e-5)
    assert torch.allclose(blend, torch.sigmoid(out[..., -1]), atol=1e-5)


def test_fewer_colours_are_the_first_of_all() -> None:
    tensors = fresh()
    features = torch.randn(3, 10, 4)
    all_, few = (
        ood_field(tensors, tensors["phi"], colours=c).decoder.with_blend(features) for c in (None, 3)
    )
    assert few[1].shape[-1] == 3
    assert torch.allclose(few[1], all_[1][..., :3], atol=1e-6)
    assert torch.allclose(few[0], all_[0], atol=1e-6) and torch.allclose(few[2], all_[2], atol=1e-6)


def test_frames_differ_by_their_phi_alone() -> None:
    tensors = fresh()
    features = torch.randn(1, 10, 4).expand(3, -1, -1)
    sigma = decode(tensors, features, tensors["phi"])[0]
    assert not torch.allclose(sigma[0], sigma[1], atol=1e-3)
    same = decode(tensors, features, tensors["phi"][:1].expand(3, -1))[0]
    assert torch.allclose(same[0], same[1], atol=1e-5)


def test_paper_draws_from_a_standard_normal_and_a_low_blend_is_a_choice() -> None:
    paper = initial_field(OODInit(resolution=64), 4, 6, 50, torch.Generator().manual_seed(0))
    assert abs(float(paper["planes"].std()) - 1) < 0.05 and abs(float(paper["phi"].std()) - 1) < 0.05
    features = torch.randn(3, 100, 4) * 0.2
    low = decode(fresh(plane_std=0.2, phi_std=0.1, blend_bias=-2.0), features, torch.zeros(3, 32))[2]
    assert float(low.mean()) < 0.3


def test_same_seed_same_field() -> None:
    one, two = fresh(), fresh()
    assert all(torch.equal(one[k], two[k]) for k in one)
