"""Grain and blur of the source, for what is laid over it.

Grain is measured as what changes from frame to frame along the motion; blur by the gradients of the source
and of its reconstruction, which a generator renders sharp.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, U8

_LEAST_GRAIN = 1.2
"""Levels of 255; less is the work of a codec."""
_WINDOW = 384
"""Most pixels of a side of the part that is measured."""
_LOW_PASS, _CUT = 3.0, 12.0
"""Sigma in pixels beyond which a change is no grain; mean change in levels from which on it is a cut."""
_BLOCK, _LEAST_BLOCKS, _CLIPPED = 16, 6, 10.0
"""Pixels of a side of a block; fewest blocks; levels from black and white within which grain is cut off."""
_AT_FIRST, _EVERY = 4, 8
"""Pairs of frames that are measured at the start, and one in so many later."""
_LEAST_PIXELS = 400
"""Fewest pixels by which blur is measured."""
_NEW = 0.25
"""Weight of a new measurement in the running mean."""
_REACH = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Sigmas of blur in crop pixels that are tried."""
_LARGEST = 256
"""Pixels of a side from twice which on crops are compared at a fraction of their size."""
_SHARPER = 0.7
"""Energy of the source's gradients by the reconstruction's, below which the source counts as blurred."""


@dataclass(frozen=True)
class Grain:
    """Grain of a clip."""

    covariance: F64  # [3,3] of R, G, B in squared levels of 255
    across: float  # correlation of neighbours in a row
    down: float

    def field(self, part: npt.NDArray[np.generic]) -> F32:
        """Grain [h,w,3] for a part [h,w,3] of a frame; the same for the same pixels."""
        seed = zlib.crc32(np.ascontiguousarray(part).tobytes())
        white = np.random.default_rng(seed).standard_normal(part.shape).astype(np.float32)
        sigmas = _sigma_of(self.across), _sigma_of(self.down)
        if max(sigmas) > 0:
            sizes = [2 * math.ceil(3 * sigma) + 1 for sigma in sigmas]
            across, down = (cv2.getGaussianKernel(n, max(s, 1e-3)) for n, s in zip(sizes, sigmas))
            white = np.asarray(cv2.sepFilter2D(white, -1, across, down, borderType=cv2.BORDER_REFLECT))
            white /= np.float32(np.linalg.norm(across) * np.linalg.norm(down))
        mixing = np.linalg.cholesky(self.covariance + 1e-6 * np.eye(3)).astype(np.float32)
        return np.asarray(white @ mixing.T, np.float32)


def _sigma_of(correlation: float) -> float:
    """Sigma of the Gaussian that gives white noise this correlation of neighbours: exp(-1 / (4 sigma^2))."""
    if correlation < 0.05:
        return 0.0
    return min(math.sqrt(-0.25 / math.log(min(correlation, 0.95))), 2.0)


class GrainMeter:
    """Running measurement of grain, from the same part of two frames at a time."""

    def __init__(self) -> None:
        self._mean: F64 | None = None  # covariance as a vector, then the two correlations
        self._seen = 0

    def see(self, other: U8, part: U8) -> None:
        """Measure parts [h,w,3] of two frames. Equal parts and those across a cut tell nothing."""
        other, part = _centre(other), _centre(part)
        if np.array_equal(other, part):
            return
        self._seen += 1
        if self._seen > _AT_FIRST and self._seen % _EVERY:
            return
        found = _measured(other, part)
        if found is not None:
            self._mean = found if self._mean is None else self._mean + _NEW * (found - self._mean)

    @property
    def grain(self) -> Grain | None:
        """The grain so far; None where there is none to speak of."""
        if self._mean is None:
            return None
        covariance = self._mean[:9].reshape(3, 3)
        if np.trace(covariance) / 3 < _LEAST_GRAIN**2:
            return None
        return Grain(covariance, float(self._mean[9]), float(self._mean[10]))


def _centre(part: U8) -> U8:
    height, width = part.shape[:2]
    top, left = max(height - _WINDOW, 0) // 2, max(width - _WINDOW, 0) // 2
    return part[top : top + _WINDOW, left : left + _WINDOW]


def _measured(other: U8, part: U8) -> F64 | None:
    """Covariance [9] and correlations [2] of the grain in one of two parts; None where they do not tell.

    What moves is followed by optical flow first, and the quieter blocks are measured: grain is everywhere.
    """
    if min(part.shape[:2]) < 2 * _BLOCK:
        return None
    change = _change(other, part)
    slow = np.asarray(cv2.GaussianBlur(change, (0, 0), _LOW_PASS))
    if np.abs(slow).mean() > _CUT:
        return None
    blocks = _blocks(change - slow)
    seen = _blocks(part.astype(np.float32)).mean(axis=(1, 2, 3))
    blocks = blocks[(seen > _CLIPPED) & (seen < 255 - _CLIPPED)]
    if len(blocks) < _LEAST_BLOCKS:
        return None
    order = np.argsort(np.median(np.abs(blocks), axis=(1, 2)).mean(axis=-1))
    quiet = blocks[order[len(order) // 10 : 1 + len(order) // 2]]
    # By medians, which single pixels that change do not raise.
    scale = 1.4826 * np.median(np.abs(quiet), axis=(0, 1, 2)) + 1e-3
    quiet = np.clip(quiet / scale, -3.0, 3.0).astype(np.float64)
    values = quiet.reshape(-1, 3)
    lengths = np.linalg.norm(values, axis=0) + 1e-9
    covariance = values.T @ values / np.outer(lengths, lengths) * np.outer(scale, scale) / 2.0
    energy = float((quiet**2).mean()) + 1e-9
    across = float((quiet[:, :, 1:] * quiet[:, :, :-1]).mean()) / energy
    down = float((quiet[:, 1:] * quiet[:, :-1]).mean()) / energy
    found: F64 = np.concatenate([covariance.ravel(), [across, down]])
    return found


def _change(other: U8, part: U8) -> F32:
    """What changes from `other` to `part` along the motion, [h,w,3], with twice the variance of grain."""
    grey, before = (cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (part, other))
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = finder.calc(grey, before, np.zeros((*grey.shape, 2), np.float32))
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    way = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    moved = cv2.remap(other.astype(np.float32), x + flow[..., 0], y + flow[..., 1], way[0], borderMode=way[1])
    # Interpolation between pixels averages their grain.
    share = flow - np.floor(flow)
    kept = ((1.0 - share) ** 2 + share**2).prod(axis=-1, keepdims=True)
    return np.asarray((part - moved) * np.sqrt(2.0 / (1.0 + kept)), np.float32)


def _blocks(image: F32) -> F32:
    """Whole blocks [N,_BLOCK,_BLOCK,3] of an image [h,w,3]."""
    rows, columns = image.shape[0] // _BLOCK, image.shape[1] // _BLOCK
    cut = image[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK, 3)
    return cut.swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK, 3)


def blur_of(source: U8, reconstruction: U8, weights: F32) -> F64 | None:
    """Kernel [n,n] that blurs a render as its source is; None where the source is as sharp.

    The source's gradients have less energy along a direction of blur. The Gaussian is found whose sigma along
    and across that direction give the reconstruction's gradients the energy of the source's.

    Args:
        source: uint8 [S,S,3], the crop.
        reconstruction: uint8 [S,S,3], the same as the generator has it.
        weights: [S,S], how far each pixel is compared.
    """
    if weights.sum() < _LEAST_PIXELS:
        return None
    shrunk = max(1, len(source) // _LARGEST)
    if shrunk > 1:
        size = (source.shape[1] // shrunk, source.shape[0] // shrunk)
        shown: list[Any] = [source, reconstruction, weights]
        source, reconstruction, weights = (
            cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in shown
        )
    before, after = (_luma(image) for image in (source, reconstruction))
    own, rendered = _tensor(before, weights), _tensor(after, weights)
    values, vectors = np.linalg.eig(np.linalg.solve(rendered + 1e-6 * np.eye(2), own))
    order = np.argsort(values.real)
    if values.real[order[0]] >= _SHARPER:
        return None
    along = vectors.real[:, order[0]] / np.linalg.norm(vectors.real[:, order[0]])
    axes = along, np.array([-along[1], along[0]])
    sigmas = [_matching_sigma(after, weights, axis, float(axis @ own @ axis)) for axis in axes]
    return _kernel(shrunk * sigmas[0], shrunk * sigmas[1], along)


def blurred(image: U8, kernel: F64) -> U8:
    """The image under a kernel."""
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _luma(image: U8) -> F32:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), np.float32)  # so that grain counts for little


def _tensor(luma: F32, weights: F32) -> F64:
    """Energy of gradients [2,2], x and y."""
    across, down = cv2.Scharr(luma, -1, 1, 0), cv2.Scharr(luma, -1, 0, 1)
    mixed = float((weights * across * down).sum())
    tensor: F64 = np.array(
        [[float((weights * across**2).sum()), mixed], [mixed, float((weights * down**2).sum())]]
    )
    return tensor / float(weights.sum())


def _matching_sigma(luma: F32, weights: F32, axis: F64, energy: float) -> float:
    """Sigma of the blur along an axis that leaves gradients along it this energy."""
    found = []
    for sigma in _REACH:
        image: Any = luma if sigma == 0 else cv2.filter2D(luma, -1, _kernel(sigma, 0.0, axis))
        found.append(float(axis @ _tensor(image, weights) @ axis))
        if found[-1] <= energy:
            break
    # energies fall with sigma
    return float(np.interp(-energy, -np.array(found), _REACH[: len(found)]))


def _kernel(along: float, across: float, axis: F64) -> F64:
    """A Gaussian [n,n] of two sigmas in pixels, along an axis and across it."""
    reach = math.ceil(3 * max(along, across, 0.3))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    u, v = x * axis[0] + y * axis[1], y * axis[0] - x * axis[1]
    # A sigma of 0.3 pixels leaves an image as it is.
    weights = np.exp(-0.5 * ((u / max(along, 0.3)) ** 2 + (v / max(across, 0.3)) ** 2))
    kernel: F64 = weights / weights.sum()
    return kernel
