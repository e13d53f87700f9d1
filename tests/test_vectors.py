"""Golden vectors: released streams decode to the same pixels for ever, and the present encoder still writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import onboard
from onboard.model import default_model
from tests.make_vectors import CASES, FOLDER, NAMES, digest, stream

VECTORS = sorted(FOLDER.glob("*.obp"))


def test_every_case_has_a_vector_of_the_shipped_model() -> None:
    model = f"{default_model().model_id:04x}"
    assert {f"{name}-{model}.obp" for name in NAMES} <= {p.name for p in VECTORS}


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_a_released_stream_decodes_to_the_same_pixels_and_mask(path: Path) -> None:
    facts = json.loads(path.with_suffix(".json").read_text())
    decoded = onboard.decompress(path.read_bytes(), enhance="plain")
    assert digest(decoded.image) == facts["image"]
    assert digest(decoded.mask) == facts["mask"]


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_writes_the_same_bytes_on_every_platform(name: str) -> None:
    model = f"{default_model().model_id:04x}"
    assert stream(name) == (FOLDER / f"{name}-{model}.obp").read_bytes()


@pytest.mark.parametrize("name", ["grey", "rgb", "deep"])
def test_a_vector_looks_like_its_picture(name: str) -> None:
    model = f"{default_model().model_id:04x}"
    picture = CASES[name][0]().astype(float)
    decoded = onboard.decompress((FOLDER / f"{name}-{model}.obp").read_bytes(), enhance="plain")
    error = np.abs(decoded.image - picture).mean() / np.ptp(picture)
    assert error < 0.08
