"""The parameters of people: ranges, order, independence, round trips."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inverters.people.params import (
    NUM_PARAMETERS,
    PARAMETERS,
    index,
    sample_scores,
    to_scores,
    to_values,
    to_z,
)

NEEDED = """
smile mouth_open blink gaze_x gaze_y brows frown surprise pucker age gender weight african asian caucasian
skin freckles lines beard hair_length hair_curl hair_volume hair_colour hair_part fringe glasses glasses_shape
earrings clothing_cut clothing_hue light_x light_y background_hue nose_width mouth_width eye_size chin_width
"""


def test_names_are_unique_and_complete():
    names = [p.name for p in PARAMETERS]
    assert len(set(names)) == len(names) == NUM_PARAMETERS
    assert set(NEEDED.split()) <= set(names)
    assert all(p.low < p.high and p.meaning and p.group for p in PARAMETERS)


def test_index_finds_each_and_names_the_known():
    assert [index(p.name) for p in PARAMETERS] == list(range(NUM_PARAMETERS))
    with pytest.raises(KeyError, match="smile"):
        index("moustache_wax")


@settings(max_examples=30)
@given(st.integers(0, NUM_PARAMETERS - 1), st.floats(-4, 4), st.floats(0.01, 2))
def test_a_value_rises_with_its_own_score_alone(i, score, step):
    scores = torch.zeros(2, NUM_PARAMETERS, dtype=torch.float64)
    scores[:, i] = torch.tensor([score, score + step])
    for j, p in enumerate(PARAMETERS):
        low, high = to_values(scores)[p.name][:, 0]
        assert p.low <= low <= p.high
        assert (high > low) if j == i else (high == low)


def test_samples_repeat_and_fill_each_range_evenly():
    scores = sample_scores(4000, torch.Generator().manual_seed(3))
    assert torch.equal(scores, sample_scores(4000, torch.Generator().manual_seed(3)))
    for p in PARAMETERS:
        unit = (to_values(scores)[p.name] - p.low) / (p.high - p.low)
        quarters = torch.histc(unit, 4, 0.0, 1.0) / len(unit)
        assert (quarters - 0.25).abs().max() < 0.04, p.name


def test_values_give_their_scores_back():
    scores = sample_scores(50, torch.Generator().manual_seed(4)).double()
    torch.testing.assert_close(to_scores(to_values(scores)), scores, atol=1e-5, rtol=1e-5)


def test_values_outside_their_range_and_unknown_names_are_refused():
    values = to_values(torch.zeros(1, NUM_PARAMETERS))
    with pytest.raises(ValueError, match="age goes from 18 to 80"):
        to_scores(values | {"age": torch.tensor([[7.0]])})
    with pytest.raises(ValueError, match="smile goes from"):
        to_scores(values | {"smile": torch.tensor([[float("nan")]])})
    with pytest.raises(KeyError, match=r"moustache_wax.*known: smile"):
        to_scores(values | {"moustache_wax": torch.zeros(1, 1)})
    with pytest.raises(KeyError, match="lack smile"):
        to_scores({k: v for k, v in values.items() if k != "smile"})


def test_z_is_scores_then_ones():
    scores = sample_scores(3, torch.Generator().manual_seed(5))
    z = to_z(scores)
    assert z.shape == (3, 512)
    assert torch.equal(z[:, :NUM_PARAMETERS], scores)
    assert bool((z[:, NUM_PARAMETERS:] == 1).all())
    with pytest.raises(ValueError, match="cannot hold"):
        to_z(scores, 8)


def test_scores_of_the_wrong_width_are_refused():
    with pytest.raises(ValueError, match=str(NUM_PARAMETERS)):
        to_values(torch.zeros(2, 7))
