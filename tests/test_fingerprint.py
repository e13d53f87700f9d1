"""The fingerprint of latents against its naive twin, and what it must tell apart, with and without the JIT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard.kernels.fingerprint import fingerprint
from tests import reference

pytestmark = pytest.mark.kernel

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(1, 40))
def test_the_fingerprint_agrees_with_its_twin_and_sees_every_block(seed, blocks):
    rng = np.random.default_rng(seed)
    residual = rng.integers(-8, 1 << 20, blocks).astype(np.int32)
    latents = rng.integers(-20_000, 20_000, (blocks, 8)).astype(np.int16)
    start = int(rng.integers(1 << 32))
    found = fingerprint(residual, latents, start)
    assert found == reference.fingerprint(residual.tolist(), latents[:, 0].tolist(), start)
    which, change = rng.integers(blocks), int(rng.choice((-3, -1, 1, 2)))
    for values in (residual, latents[:, 0]):
        values[which] += change
        assert fingerprint(residual, latents, start) != found
        values[which] -= change


@given(SEEDS, st.integers(2, 40))
def test_the_fingerprint_sees_blocks_and_planes_that_change_places(seed, blocks):
    rng = np.random.default_rng(seed)
    residual = rng.integers(0, 1 << 20, (2, blocks)).astype(np.int32)
    latents = rng.integers(-20_000, 20_000, (2, blocks, 8)).astype(np.int16)

    def both(order, planes=(0, 1)):
        found = 0
        for plane in planes:
            found = int(fingerprint(residual[plane, order], latents[plane][order], found))
        return found

    order = np.arange(blocks)
    changed = [both(order, (1, 0)), both(order[::-1]), both(np.roll(order, 1))]
    a, b = rng.choice(blocks, 2, replace=False)
    order[[a, b]] = order[[b, a]]
    assert both(np.arange(blocks)) not in [*changed, both(order)]
