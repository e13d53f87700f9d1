"""Hypothesis profiles, the shipped model, and real pictures where scikit-image brings some."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from onboard.model import Model, default_model

# The first call of a kernel compiles it, which is neither a slow test nor a flaky one.
SLOW_START = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("default", max_examples=40, deadline=None, suppress_health_check=SLOW_START)
settings.register_profile("arm64", max_examples=10, deadline=None, suppress_health_check=SLOW_START)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def model() -> Model:
    return default_model()


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A real picture, 128x160, for those who have scikit-image."""
    return np.ascontiguousarray(pytest.importorskip("skimage.data").camera()[60:188, 180:340])


@pytest.fixture(scope="session")
def colour_photograph() -> np.ndarray:
    return np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[20:117, 170:299])
