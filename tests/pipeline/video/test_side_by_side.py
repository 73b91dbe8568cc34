"""side_by_side: panels under readable labels, at a size every codec takes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.video.side_by_side import side_by_side


def solid(value, height, width, count):
    return [np.full((height, width, 3), value, np.uint8)] * count


def test_panels_keep_their_pixels_and_stand_in_order():
    left, right = solid(50, 60, 81, 3), solid(200, 60, 40, 3)
    frames = list(side_by_side([left, right], ["source", "smile=1.5"]))
    assert len(frames) == 3
    height, width = frames[0].shape[:2]
    assert height % 2 == 0 and width % 2 == 0 and width in (121, 122)
    bar = height - 60
    body = frames[0][bar:]
    assert (body[:, :81] == 50).all() and (body[:, 81:121] == 200).all()
    top = frames[0][:bar, :81]
    assert top.max() > 150 and (top == top[0, 0]).mean() > 0.5  # ink on an even ground


def test_other_heights_are_fitted_and_streams_are_not_read_ahead():
    taken = itertools.count()

    def endless():
        while True:
            next(taken)
            yield np.full((100, 80, 3), 9, np.uint8)

    frames = side_by_side([solid(1, 50, 50, 2), endless()], ["a", "b"])
    first = next(frames)
    assert first.shape[1] == 90 and next(taken) == 1
    assert len(list(frames)) == 1


def test_long_labels_are_cut_and_counts_must_agree():
    (frame,) = side_by_side([solid(7, 40, 40, 1)], ["a label far too long for so small a panel"])
    assert frame.shape[1] == 40
    with pytest.raises(ValueError, match="labels"):
        next(side_by_side([solid(7, 40, 40, 1)], []))
