"""From distance, speed and time to impact to an alarm: both thresholds strict (equation 8), then hysteresis.

``alert iff speed < v_thr and tti < T_thr``; in modes with hysteresis it sounds after ``on_hits`` of the last ``on_of``
samples and ends after ``off_after`` quiet ones. All of it is monotone: looser thresholds never lose an alarm.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.state import AlertState, Candidate, Estimate


def passes(speed: float, tti: float, speed_threshold: float, tti_threshold: float) -> bool:
    """Equation 8, strict on both sides."""
    return speed < speed_threshold and tti < tti_threshold


def level_of(tti: float) -> int:
    """3 within a second of impact, 2 within two, else 1."""
    return 3 if tti < 1.0 else 2 if tti < 2.0 else 1


class Decision:
    """Holds estimates against thresholds, sample by sample."""

    def __init__(self, config: AlertConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget earlier samples."""
        self._hits: deque[bool] = deque(maxlen=max(self.config.on_of, self.config.off_after))
        self._on = False

    def pause(self) -> None:
        """A frame that was not judged, or not yet: the alarm ends, since nothing supports it any more."""
        self.reset()

    def step(self, estimate: Estimate) -> tuple[bool, Candidate | None]:
        """Whether to sound, and which candidate it is about (None where the estimator knows one number only)."""
        chosen = self._choose(estimate)
        if estimate.forced is not None:
            hit = estimate.forced
        elif estimate.candidates:
            hit = chosen is not None and self._passes(chosen)
        else:
            hit = passes(estimate.speed, estimate.tti, self.config.speed_threshold, self.config.tti_threshold)
        return self._hold(hit), chosen

    def _passes(self, one: Candidate) -> bool:
        return one.passes and passes(one.limit, one.tti, self.config.speed_threshold, self.config.tti_threshold)

    def _choose(self, estimate: Estimate) -> Candidate | None:
        """The first to arrive among those that pass, else the first to arrive, else the nearest."""
        if not estimate.candidates:
            return None
        return min(estimate.candidates, key=lambda c: (not self._passes(c), c.tti, c.distance))

    def _hold(self, hit: bool) -> bool:
        self._hits.append(hit)
        recent = list(self._hits)
        if sum(recent[-self.config.on_of :]) >= self.config.on_hits:
            self._on = True
        elif not any(recent[-self.config.off_after :]):
            self._on = False
        return self._on


def hits(states: Sequence[AlertState], speed: float, tti: float) -> NDArray[np.bool_]:
    """Which stored states pass other thresholds, before hysteresis; frames are never read again."""
    found = np.zeros(len(states), dtype=bool)
    for n, state in enumerate(states):
        if not state.judged:
            continue
        if state.forced is not None:
            found[n] = state.forced
        elif state.candidates:
            found[n] = any(c.passes and passes(c.limit, c.tti, speed, tti) for c in state.candidates)
        else:
            found[n] = passes(state.speed, state.tti, speed, tti)
    return found


def decide(states: Sequence[AlertState], config: AlertConfig, speed: float, tti: float) -> NDArray[np.bool_]:
    """The alarms of stored states at other thresholds, with the hysteresis of ``config``."""
    return held(hits(states, speed, tti), [not s.judged for s in states], config)


def held(raw: NDArray[np.bool_], broken: Iterable[bool], config: AlertConfig) -> NDArray[np.bool_]:
    """Hysteresis over samples: ``raw`` hits, and the samples that were not judged, which made the engine forget."""
    decision = Decision(config)
    found = np.zeros(len(raw), dtype=bool)
    for n, (hit, pause) in enumerate(zip(raw, broken, strict=True)):
        if pause:
            decision.pause()
        else:
            found[n] = decision._hold(bool(hit))
    return found


def theil_sen(t: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    """Median slope over all pairs of a short series; NaN for fewer than two distinct times."""
    i, j = np.triu_indices(len(t), 1)
    dt = t[j] - t[i]
    keep = dt > 0
    return float(np.median((x[j] - x[i])[keep] / dt[keep])) if keep.any() else math.nan
