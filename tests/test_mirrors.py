"""The mean over mirror images: what is mirrored comes back in its place, and latents change their signs rightly."""

from __future__ import annotations

import numpy as np

from onboard.ground.features import LAYOUTS
from onboard.ground.mirrors import mean_of_mirrors, parities
from onboard.model import Model
from tests.pictures import texture

SIGNS = np.ones((2, 7), int)
LAYOUT = LAYOUTS["luma"]


def seen(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(6, 10, LAYOUT.channels)).astype(np.float32)


def test_a_net_that_treats_mirror_images_alike_says_the_same() -> None:
    x = seen(np.random.default_rng(1))
    out = mean_of_mirrors(lambda given: given[..., : LAYOUT.cell**2] * given[..., -4:-3], LAYOUT, 1, tuple(SIGNS), x)
    assert np.allclose(out, x[..., : LAYOUT.cell**2] * x[..., -4:-3], atol=1e-6)


def test_the_mean_is_that_of_four_answers_each_mirrored_back() -> None:
    x = seen(np.random.default_rng(2))

    def lean(given: np.ndarray) -> np.ndarray:
        """Answers with the cell to the left, which is to the right of it in mirror images."""
        return np.roll(given[..., : LAYOUT.cell**2], 1, axis=1)

    samples = x[..., : LAYOUT.cell**2]
    expected = (np.roll(samples, 1, axis=1) + np.roll(samples, -1, axis=1)) / 2
    assert np.allclose(mean_of_mirrors(lean, LAYOUT, 1, tuple(SIGNS), x), expected, atol=1e-6)


def test_places_in_the_block_stay_what_they_are() -> None:
    places = np.tile(np.eye(LAYOUT.across**2, dtype=np.float32).reshape(LAYOUT.across, LAYOUT.across, -1), (3, 5, 1))
    x = np.zeros((6, 10, LAYOUT.channels), np.float32)
    x[..., LAYOUT.cell**2 : LAYOUT.cell**2 + LAYOUT.across**2] = places
    met = []
    mean_of_mirrors(lambda given: met.append(given) or given[..., : LAYOUT.cell**2], LAYOUT, 1, tuple(SIGNS), x)
    assert len(met) == 4
    assert all((given == x).all() for given in met)


def test_latents_of_mirrored_blocks_are_those_of_the_blocks_but_for_their_signs(model: Model) -> None:
    blocks = texture(256, 256).astype(float).reshape(32, 8, 32, 8).swapaxes(1, 2).reshape(-1, 8, 8) - 128
    units = model.weights[1:].astype(float)
    own = blocks.reshape(-1, 64) @ units.T
    for axis, signs in zip((1, 2), parities(model), strict=True):
        assert set(signs) == {1, -1}
        mirrored = np.flip(blocks, axis).reshape(-1, 64) @ units.T
        assert ((mirrored * own * signs).sum(0) > 0.8 * (own**2).sum(0)).all()


def test_signs_are_those_of_latents_2_to_8_alone() -> None:
    x = np.ones((2, 2, LAYOUT.channels), np.float32)
    signs = np.array([1, 1, 1, 1, 1, 1, -1]), np.array([-1, 1, 1, 1, 1, 1, 1])
    met = []
    mean_of_mirrors(lambda given: met.append(given[0, 0]) or given[..., : LAYOUT.cell**2], LAYOUT, 1, signs, x)
    first = LAYOUT.known[0] + 1
    negative = [[int(n) - first for n in np.flatnonzero(each < 0)] for each in met]
    assert negative == [[], [0], [6], [0, 6]]


def test_cb_and_cr_are_mirrored_each_for_itself() -> None:
    layout = LAYOUTS["chroma"]
    x = np.random.default_rng(3).normal(size=(4, 6, layout.channels)).astype(np.float32)
    negative = np.array([-1, 1, 1, 1, 1, 1, 1])
    met: list[np.ndarray] = []
    out = mean_of_mirrors(lambda given: met.append(given) or given[..., 64:96], layout, 2, (negative, SIGNS[1]), x)
    assert np.allclose(out, x[..., 64:96], atol=1e-6)
    upside_down = met[2]
    for first, side in ((0, 8), (64, 4), (80, 4), (96, 2)):
        own, turned = (a[..., first : first + side * side].reshape(4, 6, side, side) for a in (x, upside_down))
        assert (turned == own[::-1, :, ::-1]).all()
    for first in (100, 112, 124):
        assert (upside_down[..., first + 1] == -x[::-1, :, first + 1]).all()
        assert (upside_down[..., first] == x[::-1, :, first]).all()
