"""Which strength of evidence keeps a rate: the verifier's threshold. Knows rates of strengths; no pixels."""

from __future__ import annotations

import math

from guard.calibration.rates import Rates
from guard.errors import ConfigError
from guard.verification.limits import Limits

__all__ = ["PIXELS_SHARE", "in_words", "left_to_similarity", "strength_keeping"]

PIXELS_SHARE = 0.5  # of a rate: what pixels may add to the matches of similarity and hashes


def strength_keeping(rates: Rates, rate: float) -> float:
    """The strength from which evidence counts by itself, at least 0; inf if no strength is known to keep the rate.

    rates: of strengths. The upper end of the 95 % interval, as for similarities: where counts say that all evidence of
    a copy keeps the rate, all of it counts.
    """
    if rates.rate(0.0).high <= rate:
        return 0.0
    try:
        return max(0.0, rates.threshold(rate).similarity)
    except ConfigError:
        return math.inf


def left_to_similarity(rate: float, strength: float) -> float:
    """The part of a rate that similarity and hashes may use up. strength: that keeps the pixels' part, or inf."""
    return rate if math.isinf(strength) else rate * (1 - PIXELS_SHARE)


def in_words(strength: float, limits: Limits | None = None) -> str:
    """What a strength takes of the two numbers that people know."""
    if math.isinf(strength):
        return "pixels only confirm"
    limits = limits or Limits()
    inliers = math.ceil(limits.inliers / (1 - strength) - 1e-9) if strength < 1 else math.inf
    agreement = limits.agreement_with_inliers + strength * (1 - limits.agreement_with_inliers)
    return f"{inliers:.0f} inliers with an agreement of {agreement:.2f}"
