"""The look of people in numbers."""

import torch

from inverters.people.look import look_weights, looks
from inverters.people.params import index, sample_scores


def test_looks_are_finite_and_each_persons_own():
    scores = sample_scores(6, torch.Generator().manual_seed(1))
    found = looks(scores)
    assert found.isfinite().all()
    torch.testing.assert_close(looks(scores[2:4]), found[2:4])
    assert (found[0] != found[1]).float().mean() > 0.5


def test_what_shows_changes_the_look_and_what_does_not_show_changes_little():
    scores = torch.zeros(3, sample_scores(1).shape[1])
    scores[1, index("glasses")], scores[2, index("glasses")] = 1.0, -1.0
    middle, worn, bare = looks(scores)
    assert ((worn - middle).abs() > 1e-6).sum() > ((bare - middle).abs() > 1e-6).sum()


def test_a_mapping_learns_hair_before_the_backdrop():
    """Hair is a third of what pictures are wrong in, and 22 of 450 numbers."""
    weights = look_weights()
    assert weights.shape == looks(sample_scores(1)).shape[1:]
    assert abs(weights.mean().item() - 1) < 1e-5
    changed = sample_scores(1).expand(2, -1).clone()
    changed[:, index("fringe")] = torch.tensor([-1.0, 2.5])
    bare, fringe = looks(changed)
    own = (bare - fringe).abs() > 1e-6
    assert weights[own].max() > 10 * weights.min()
