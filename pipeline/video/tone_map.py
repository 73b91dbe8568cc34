"""Tone map between high dynamic range and the 8-bit SDR in which faces are fitted, and its inverse.

ITU-R BT.2100 (PQ and HLG), BT.2390 section 5.4 (EETF), BT.2408 (reference white), BT.1886 (SDR display).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, F64, U8

PQ, HLG = 16, 18
"""Transfers, ITU-T H.273."""
HDR = (PQ, HLG)
REFERENCE_WHITE = 203.0
"""cd/m2 of diffuse white in HDR programmes (BT.2408, section 2.2)."""
SDR_WHITE = 100.0
"""cd/m2 of white where a programme has nothing brighter: SDR in an HDR signal."""
_SLACK = 1.2
"""Peak over a white up to which the peak counts as that white: codecs overshoot."""
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2
_LUMA = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_SDR_GAMMA = 2.4
_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
"""Linear RGB of BT.2020 primaries to those of BT.709 (BT.2407, section 2)."""
_STEPS = 8192
"""Of the table of the EETF."""
_CODES = 65535
"""Steps of a signal in tables."""
_DROPPED, _BLOCK = 13, 32
"""Low bits of a float32 that tables leave out, so that light has one part in 1,000; rows at a time."""

Array = npt.NDArray[np.floating[npt.NBitBase]] | F32 | F64


def pq_to_light(signal: Array) -> F64:
    """PQ signal [0,1] to cd/m2 (BT.2100, table 4, EOTF)."""
    power = np.clip(np.asarray(signal, np.float64), 0.0, 1.0) ** (1 / _M2)
    light: F64 = 10000.0 * (np.maximum(power - _C1, 0.0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return light


def light_to_pq(light: Array) -> F64:
    """cd/m2 to PQ signal, the inverse."""
    power = (np.clip(np.asarray(light, np.float64), 0.0, 10000.0) / 10000.0) ** _M1
    signal: F64 = ((_C1 + _C2 * power) / (1.0 + _C3 * power)) ** _M2
    return signal


def hlg_to_scene(signal: Array) -> F64:
    """HLG signal [0,1] to scene light [0,1] (BT.2100, table 5, inverse OETF)."""
    values = np.clip(np.asarray(signal, np.float64), 0.0, 1.0)
    scene: F64 = np.where(values <= 0.5, values**2 / 3.0, (np.exp((values - _C) / _A) + _B) / 12.0)
    return scene


def scene_to_hlg(scene: Array) -> F64:
    """Scene light [0,1] to HLG signal (BT.2100, table 5, OETF)."""
    values = np.clip(np.asarray(scene, np.float64), 0.0, 1.0)
    high = _A * np.log(np.maximum(12.0 * values - _B, 1e-9)) + _C
    signal: F64 = np.where(values <= 1 / 12, np.sqrt(3.0 * values), high)
    return signal


def signal_to_light(signal: Array, transfer: int) -> F64:
    """cd/m2 of each channel on the display of BT.2100.

    HLG's system gamma of 1.2 goes by channel, as zscale has it by default; in BT.2100 it goes by luminance.
    """
    if transfer == PQ:
        return pq_to_light(signal)
    light: F64 = _HLG_PEAK * hlg_to_scene(signal) ** _HLG_GAMMA
    return light


def light_to_signal(light: Array, transfer: int) -> F64:
    """The inverse of `signal_to_light`."""
    if transfer == PQ:
        return light_to_pq(light)
    return scene_to_hlg((np.maximum(np.asarray(light, np.float64), 0.0) / _HLG_PEAK) ** (1 / _HLG_GAMMA))


@dataclass(frozen=True)
class ToneMap:
    """From a signal in [0,1] to SDR in [0,1], and back.

    transfer: PQ or HLG. wide: primaries of BT.2020, which become those of BT.709. peak: cd/m2 of the clip's
    brightest parts. Up to the white's light the map is the plain inverse of the transfer; brighter parts are
    rolled off by the EETF of BT.2390.

    Example:
        ToneMap(PQ, wide=True, peak=1000.0).to_sdr(signal)
    """

    transfer: int
    wide: bool
    peak: float

    @property
    def white(self) -> float:
        """cd/m2 that becomes white of SDR."""
        return SDR_WHITE if self.peak <= _SLACK * SDR_WHITE else REFERENCE_WHITE

    @property
    def is_rolled_off(self) -> bool:
        """Whether the clip has parts brighter than white."""
        return self.peak > _SLACK * self.white

    def to_sdr(self, signal: Array) -> F32:
        """R', G', B' [...,3] of BT.709 in [0,1]."""
        light = self._narrow(np.take(_light_of_code(self.transfer, _CODES), _code_of(signal)))
        return np.take(self._sdr_of_light, light.view(np.uint32) >> _DROPPED)

    def to_hdr(self, sdr: Array) -> F32:
        """The signal [...,3] that `to_sdr` takes to these R', G', B'."""
        light = np.take(self._light_of_sdr, _code_of(sdr))
        if self.wide:
            light = _transformed(light, np.linalg.inv(_TO_BT709))
        return np.take(_signal_of_light(self.transfer), light.view(np.uint32) >> _DROPPED)

    def view(self, pixels: npt.NDArray[np.uint16], top: int) -> U8:
        """A frame uint16 [H,W,3] of the signal, whose white is `top`, as SDR uint8: `to_sdr` by tables."""
        out, table = np.empty(pixels.shape, np.uint8), _light_of_code(self.transfer, top)
        for start in range(0, len(pixels), _BLOCK):
            light = self._narrow(np.take(table, pixels[start : start + _BLOCK]))
            np.take(self._level_of_light, light.view(np.uint32) >> _DROPPED, out=out[start : start + _BLOCK])
        return out

    @cached_property
    def eetf(self) -> tuple[F64, F64]:
        """Signal in and out of the EETF of BT.2390, section 5.4.1, in PQ; black is 0."""
        top, most, knee = self._spline
        given = np.linspace(0.0, 1.0, _STEPS + 1)
        t = np.clip((given - knee) / (1.0 - knee), 0.0, 1.0)
        high = (
            (2 * t**3 - 3 * t**2 + 1) * knee
            + (t**3 - 2 * t**2 + t) * (1 - knee)
            + (-2 * t**3 + 3 * t**2) * most
        )
        return top * given, top * np.where(given < knee, given, high)

    def eetf_expression(self, signal: str) -> str:
        """The same as an expression of FFmpeg; signal: that of the PQ signal in [0,1]."""
        top, most, knee = self._spline
        t = f"min(({signal})/{top:.9f}-{knee:.9f},{1 - knee:.9f})/{1 - knee:.9f}"
        high = (
            f"st(0,{t});{knee:.9f}*(2*pow(ld(0),3)-3*pow(ld(0),2)+1)"
            f"+{1 - knee:.9f}*(pow(ld(0),3)-2*pow(ld(0),2)+ld(0))"
            f"+{most:.9f}*(3*pow(ld(0),2)-2*pow(ld(0),3))"
        )
        return f"if(lt({signal},{top * knee:.9f}),{signal},{top:.9f}*({high}))"

    @property
    def _spline(self) -> tuple[float, float, float]:
        """PQ signal of the peak; of white as a part of that; where the spline starts, as a part of that."""
        top, most = float(light_to_pq(np.array(self.peak))), float(light_to_pq(np.array(self.white)))
        return top, most / top, 1.5 * most / top - 0.5

    def _narrow(self, light: F32) -> F32:
        """cd/m2 [...,3] of BT.709 primaries."""
        return _transformed(light, _TO_BT709) if self.wide else light

    def _mapped(self, light: F64) -> F64:
        if not self.is_rolled_off:
            return light
        return pq_to_light(np.interp(light_to_pq(light), *self.eetf))

    @cached_property
    def _sdr_of_light(self) -> F32:
        """SDR in [0,1] by the high bits of a float32 of light in cd/m2."""
        relative = np.clip(self._mapped(_lights()) / self.white, 0.0, 1.0)
        return (relative ** (1 / _SDR_GAMMA)).astype(np.float32)

    @cached_property
    def _level_of_light(self) -> U8:
        """The same in levels of 255."""
        levels: U8 = np.rint(255.0 * self._sdr_of_light).astype(np.uint8)
        return levels

    @cached_property
    def _light_of_sdr(self) -> F32:
        """cd/m2 by codes of SDR."""
        light = self.white * (np.arange(_CODES + 1) / _CODES) ** _SDR_GAMMA
        if self.is_rolled_off:
            light = pq_to_light(np.interp(light_to_pq(light), self.eetf[1], self.eetf[0]))
        return light.astype(np.float32)


def _code_of(values: Array) -> npt.NDArray[np.int32]:
    codes = np.clip(np.rint(np.asarray(values, np.float32) * _CODES), 0, _CODES)
    return np.asarray(codes, np.int32)


def _transformed(values: F32, matrix: F64) -> F32:
    """Colours [...,3] times a matrix [3,3]."""
    flat = np.ascontiguousarray(values).reshape(1, -1, 3)
    out: Any = cv2.transform(flat, matrix.astype(np.float32))
    return np.asarray(out, np.float32).reshape(values.shape)


@cache
def _signal_of_light(transfer: int) -> F32:
    """Signal by the high bits of a float32 of light in cd/m2."""
    return light_to_signal(_lights(), transfer).astype(np.float32)


@cache
def _lights() -> F64:
    """The float32 in the middle of those with the same high bits, by these bits; 0 for negative ones."""
    bits = (np.arange(1 << (32 - _DROPPED), dtype=np.uint32) << _DROPPED) + np.uint32(1 << (_DROPPED - 1))
    with np.errstate(invalid="ignore"):  # some are no numbers
        numbers = bits.view(np.float32).astype(np.float64)
        return np.where(numbers > 0.0, np.minimum(numbers, 1e5), 0.0)


@cache
def _light_of_code(transfer: int, top: int) -> F32:
    """cd/m2 of each code of 16 bits, where `top` is white."""
    return signal_to_light(np.arange(65536) / top, transfer).astype(np.float32)


class PeakMeter:
    """Light of the brightest parts of a clip, gathered frame by frame."""

    def __init__(self) -> None:
        self._counts = np.zeros(65536, np.int64)

    def add(self, pixels: npt.NDArray[np.uint16], top: int) -> None:
        """Count pixels uint16 [h,w,3] by their luma, where `top` is white; channels overshoot in 4:2:0."""
        luma = cv2.transform(pixels.astype(np.float32), _LUMA)
        codes = np.minimum(np.rint(luma * (65535 / top)), 65535).astype(np.int64)
        self._counts += np.bincount(codes.ravel(), minlength=65536)

    def light(self, transfer: int) -> float:
        """cd/m2 that no more than one pixel in 10,000 is brighter than."""
        total = int(self._counts.sum())
        above = total - np.cumsum(self._counts)
        code = int(np.argmax(above * 10_000 <= total))
        return float(signal_to_light(np.array(code / 65535.0), transfer))
