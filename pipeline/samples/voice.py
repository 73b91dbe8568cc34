"""Synthesise a voice without words that follows the opening of the mouth."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.clip import F64

AUDIO_RATE = 32000
"""Samples per second."""
_VOWELS = ((300.0, 2200.0, 2900.0), (480.0, 1750.0, 2500.0), (700.0, 1220.0, 2550.0), (420.0, 900.0, 2400.0))
"""First three formants in hertz of the four vowels that the voice moves between."""


def babble(speech: F64, fps: float, seed: int, seconds: float) -> npt.NDArray[np.float32]:
    """Synthesise a voice without words, float32 [samples] at AUDIO_RATE in [-0.16, 0.16].

    speech [T] in [0, 1] at `fps`: opening of the mouth, which sets the loudness. Source-filter model (Fant
    1960): harmonics of a varying pitch, weighted by three formants with Lorentzian resonances, and noise at
    the onset of a syllable.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    level = np.interp(times, (np.arange(len(speech)) + 0.5) / fps, speech)
    pitch = (105.0 + 90.0 * rng.random()) * (1 + 0.10 * _wander(times, rng, 0.7) + 0.12 * (level - 0.4))
    phase = 2 * math.pi * np.cumsum(pitch) / AUDIO_RATE
    place = 1.5 + 1.5 * _wander(times, rng, 2.6)
    vowels = np.array(_VOWELS)
    formants = [np.interp(place, np.arange(len(vowels)), vowels[:, k]) for k in range(3)]
    formants[0] = formants[0] * (0.75 + 0.45 * level)
    voice = np.zeros_like(times)
    for harmonic in range(1, 31):
        frequency = harmonic * pitch
        gain = np.zeros_like(times)
        for centre, width, strength in zip(formants, (90.0, 120.0, 170.0), (1.0, 0.5, 0.22), strict=True):
            gain += strength / (1 + ((frequency - centre) / width) ** 2)
        voice += (gain + 0.012) * (frequency < AUDIO_RATE / 2.2) / harmonic**0.35 * np.sin(harmonic * phase)
    rising = np.clip(np.gradient(level) * AUDIO_RATE / 8, 0, 1)
    breath = np.diff(rng.standard_normal(len(times) + 1)) * rising
    loud = voice * np.clip(level, 0, 1) ** 1.4 + 0.12 * breath
    edge = np.clip(np.minimum(times, seconds - times) / 0.02, 0, 1)
    quiet: npt.NDArray[np.float32] = (0.16 * edge * loud / max(float(np.abs(loud).max()), 1e-6)).astype(
        np.float32
    )
    return quiet


def _wander(times: F64, rng: np.random.Generator, rate: float) -> F64:
    """Smooth random signal of about unit amplitude: three sines of random phase."""
    path = np.zeros_like(times)
    for factor, weight in ((1.0, 0.6), (1.7, 0.3), (2.9, 0.1)):
        path += weight * np.sin(2 * math.pi * (rate * factor * times + rng.random()))
    return path
