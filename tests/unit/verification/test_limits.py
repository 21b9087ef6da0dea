"""Thresholds that no comparison could meet are refused."""

from __future__ import annotations

from dataclasses import fields

import pytest

from guard import ConfigError
from guard.verification.limits import COUNTS, Limits


@pytest.mark.parametrize("field", fields(Limits), ids=lambda f: f.name)
def test_limits_out_of_range_are_named(field: object) -> None:
    name = field.name  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: -1})
    if name not in COUNTS:
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: 1.5})
