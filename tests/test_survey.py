"""Bands of a large picture speak for all of it."""

import numpy as np
import pytest

import onboard
from onboard import progressive, shot
from onboard.distortion import soften_edges
from onboard.job import Job
from onboard.model import default_model
from onboard.planes import enlarge
from onboard.survey import TALL, Survey, survey
from onboard.wire import MAX_PACKET, Colour, Description, Window
from tests import pictures, reference

INDEX, COARSE, STEP = 70, 150, 90
PICTURES = {
    "grey": pictures.texture(6 * TALL, 206),
    "colour": pictures.colourful(6 * TALL, 206),
    "deep": pictures.deep(6 * TALL, 206),
}


def job_of(picture: np.ndarray) -> Job:
    model = default_model()
    d = Description(
        picture_id=1,
        tag=0,
        model_id=model.model_id,
        width=picture.shape[1],
        height=picture.shape[0],
        colour=Colour.YCBCR420 if picture.ndim == 3 else Colour.GREY,
        window=Window(12, 0, 0, 300, 3700) if picture.dtype == np.uint16 else None,
    )
    return Job(picture, d, model, MAX_PACKET, (), None)


@pytest.mark.parametrize("name", PICTURES)
def test_all_bands_together_have_the_error_of_the_base(name):
    job = job_of(PICTURES[name])
    bands = Survey(job.encoding(0, COARSE), np.arange(6), job.picture)
    plain, softened = (progressive.base_error(job, job.packets(0, COARSE), softened=s) for s in (False, True))
    assert bands.base_error(COARSE, job.effort()) == pytest.approx(softened, rel=0.008)
    assert plain != pytest.approx(softened, rel=0.03)


@pytest.mark.parametrize("height", [6 * TALL, 6 * TALL + 1, 6 * TALL + 9, 6 * TALL + 15])
def test_the_last_band_goes_on_where_the_picture_does(height):
    y, x = np.mgrid[:height, :206]
    job = job_of((20 + 2 * y + x // 8).astype(np.uint8))
    bands = Survey(job.encoding(0, COARSE), np.array([5]), job.picture[5 * TALL : 6 * TALL])
    shown = onboard.decompress(b"".join(job.packets(0, COARSE)), enhance="plain").image
    soften_edges(shown, job.base, job.model, COARSE)
    wrong = (shown.astype(int) - job.picture)[5 * TALL : 6 * TALL]
    assert bands.base_error(COARSE, job.effort()) == float((wrong**2).sum())


def test_bases_are_compared_by_their_errors_with_softened_edges():
    job = job_of(PICTURES["grey"])
    packets = job.packets(0, COARSE)
    plain = onboard.decompress(b"".join(packets), enhance="plain").image
    limit = round(3 * int(job.model.steps(COARSE)[0]) / 128)
    softened = np.array(reference.softened(plain.tolist(), 255, limit))
    error = float(((softened - job.picture) ** 2).sum())
    assert progressive.luma_error(job, packets, 0) == progressive.base_error(job, packets, softened=True) == error
    assert progressive.base_error(job, packets, softened=False) == float(((plain.astype(int) - job.picture) ** 2).sum())


def test_edges_are_softened_at_the_coded_scale():
    job = job_of(PICTURES["grey"])
    packets = job.packets(1, COARSE)
    (coded,) = progressive._decoded(job, packets).plain()
    soften_edges(coded, job.base, job.model, COARSE)
    shown = enlarge(coded, job.base, 1)
    assert progressive.luma_error(job, packets, 0) == float(((shown.astype(int) - job.picture) ** 2).sum())


@pytest.mark.parametrize("at", [48, 52])
def test_an_edge_of_the_picture_itself_is_not_softened(at):
    plane = np.full((64, 96), 90, np.uint8)
    plane[:, at:] = 0
    softened = plane.copy()
    soften_edges(softened, job_of(plane).base, default_model(), COARSE)
    assert (softened == plane).all()


@pytest.mark.parametrize("shape", [(40000, 16), (40000, 8), (65535, 9), (65535, 1)])
def test_tall_and_narrow_pictures_can_be_asked(shape):
    job = job_of(pictures.noise(*shape))
    assert survey(job.picture, job.encoding(0, COARSE)).base_error(COARSE, job.effort()) > 0


@pytest.mark.parametrize("name", PICTURES)
def test_what_a_base_leaves_of_a_band_is_what_it_leaves_of_the_picture_there(name):
    job, chosen = job_of(PICTURES[name]), np.array([0, 1, 4])
    pixels = np.concatenate([job.picture[TALL * n : TALL * (n + 1)] for n in chosen])
    bands = Survey(job.encoding(0, INDEX), chosen, pixels)
    ours = shot.survey_shot(job, bands, STEP)
    theirs = shot.make_shot(job, STEP)
    assert ours.base_size == theirs.base_size and bands.share == 0.5
    assert bands.layer_0_bytes(ours.index) == pytest.approx(theirs.base_size, rel=0.3)
    for band, all_ in zip(ours.parts, theirs.parts, strict=True):
        tall = TALL >> (band.part.plane > 0)
        rows = (chosen[:, None] * tall + np.arange(tall)).ravel()
        assert np.array_equal(band.part.source, all_.part.source[rows])
        assert np.array_equal(band.part.base, all_.part.base[rows])


@pytest.mark.parametrize("height", [17, 100, 4095, 65535])
def test_bands_are_spread_over_the_picture_and_none_is_taken_twice(height):
    job = job_of(np.zeros((height, 9), np.uint8))
    found = survey(job.picture, job.encoding(0, INDEX))
    assert len(found.picture) == TALL * len(found.bands)
    assert found.bands[0] >= 0 and TALL * (found.bands[-1] + 1) <= height and (np.diff(found.bands) > 0).all()


@pytest.mark.parametrize("top", [150, 460, 860])
def test_a_large_picture_that_is_mostly_empty_gets_layers_where_they_are_better(top):
    """A strip of sharp edges in nothing: eight latents a block do not say them."""
    picture = np.full((1040, 1040), 8, np.uint8)
    picture[top : top + 130] = pictures.checkerboard(130, 1040, 5)
    assert "2" in onboard.describe(onboard.compress(picture, bpp=0.15))["layer_bytes"]
