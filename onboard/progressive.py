"""From preview to lossless: which layers a picture gets for a budget, and what is added to what has been sent.

The base is the preview's own; the layers above refer to what its packets decode to, so this is where the encoder meets
the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from onboard.decoder import Decoding
from onboard.distortion import soften_edges, squared_error
from onboard.job import Job
from onboard.layer_header import LAYER_LOSSLESS, NORMATIVE
from onboard.packer import Packer
from onboard.planes import enlarge, strips
from onboard.rate import Choice, fit_budget
from onboard.rate import Job as RateJob
from onboard.reference import Rect
from onboard.refiner import (
    LOSSLESS_LEAST_PACKET,
    base_index,
    lossless_bits,
    lossless_planes,
    lossless_sections,
    source_planes,
    steps_deeper,
)
from onboard.shot import SAFETY, fit_shot, foretell_step, make_shot, retag, single_shot, survey_shot, with_tag
from onboard.spend import COARSEST, START_STEP, first
from onboard.survey import TALL, survey
from onboard.wire import BLOCK, LOSSLESS_QUALITY, MAX_QUALITY, Colour, header_size, unpack

LAYERS_ONLY_FROM = 0.35  # bits per pixel: from here on a refinement is always better than a base alone
LAYERS_HANDICAP = 1.01  # the ground gains a little more on a base alone than the errors compared here show
PROMISED = 1.04  # times that, by some bands of a large picture: they are too hopeful, and to ask all of it is dear
COARSE_INDEX = 110  # of a base alone from which layers are so seldom better that bands of the picture are asked first
MUST_BE_BETTER = 2.0  # than the finest preview's squared error: what its decoder and its chroma gain beyond plain luma
STEP_AT_INDEX_0, STEPS_PER_INDEX = 40, 0.456  # the step that takes as much as a base alone of an index, about
CLOSE_ENOUGH = 12  # the same for a verdict, which so small a difference moves by 1 %
LOSSLESS_DOUBT = 1.2  # a lossless stream is only made when it is counted to be at most so many times the budget
QUICK_LOOKS = ((64, 8, 2.5), (512, 16, 1.5))  # first guesses: columns and rows of blocks, doubt beside that one
LOSSLESS_INDEX, LOSSLESS_SCALE_LOG2 = 140, 1  # the preview that goes with a lossless stream: some 0.02 bpp


def luma_error(job: RateJob, packets: list[bytes], scale_log2: int, *, softened: bool = True) -> float:
    """Squared error of a base's luma at a scale not coarser than the coded one, by which scales are compared: of the
    plain one, or of what the ground will show, about."""
    assert isinstance(job, Job)
    decoding = _decoded(job, packets)
    d = decoding.description
    coded = np.ascontiguousarray(decoding.plain()[0])
    if softened:
        soften_edges(coded, d, job.model, decoding.planes[0].usual_index())
    target = replace(job.base, scale_log2=scale_log2, colour=Colour.GREY)
    ours = enlarge(coded, target, d.scale_log2, scale_log2)

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        top = 0
        for _, _, strip in strips(job.picture, target):
            yield strip, ours[top : top + len(strip)]
            top += len(strip)

    return squared_error(pairs())


def base_error(job: Job, packets: list[bytes], *, softened: bool) -> float:
    """The same at scale 1 and at the depth of the source, where Shot.error is at home."""
    if job.base.window is None:
        return luma_error(job, packets, 0, softened=softened)
    decoding = _decoded(job, packets)
    ours = decoding.reference(0, NORMATIVE)
    if softened:
        soften_edges(ours, job.base, job.model, decoding.planes[0].usual_index())
    return squared_error([(source_planes(job.picture, job.base)[0], ours)])


def _decoded(job: Job, packets: list[bytes]) -> Decoding:
    parsed = [unpack(p)[0] for p in packets]
    decoding = Decoding(parsed[0].description, job.model)
    decoding.add(parsed)
    return decoding


def at_quality(job: Job, quality: float) -> list[bytes]:
    """A stream between the finest preview and a lossless one; the coarsest is just better than that preview.

    Of a deep picture the finest steps may say no more than noise, and take more than the lossless stream: it is then
    that. (At 8 bits they take a few per cent more at most.)
    """
    finest = base_error(job, job.packets(0, 0), softened=False) / MUST_BE_BETTER
    shot = make_shot(job, START_STEP)
    as_good = first(0, COARSEST, lambda step: shot.error(step) > finest) - 1
    step = max(round(as_good * (LOSSLESS_QUALITY - quality) / (LOSSLESS_QUALITY - MAX_QUALITY)), 0)
    packets = single_shot(job, step)
    exact = None if job.base.window is None else _lossless_within(job, job.size(packets), None)
    return packets if exact is None else exact


def fit(job: Job, budget: int, scale_log2: int | None) -> list[bytes]:
    """The best stream of at most `budget` bytes: a base alone, or a base and a refinement made for each other.

    Args:
        scale_log2: of the base, None to choose; any scale but 1 asks for a base alone.

    Raises:
        BudgetError: no stream is that small.
    """
    layers = scale_log2 in (None, 0)
    alone: list[bytes] | None = None
    if not (layers and 8 * budget * job.source_share(budget) >= LAYERS_ONLY_FROM * job.pixels):
        choice = fit_budget(job, budget, scale_log2, job.model.price, luma_error)
        alone = choice.packets
        if not layers or choice.scale_log2:
            return alone
        # a picture lower than a band is asked as a whole
        if (job.is_large or choice.index >= COARSE_INDEX) and job.picture.shape[0] >= TALL:
            promised = LAYERS_HANDICAP * (PROMISED if job.is_large else 1)
            if not _layers_may_win(job, budget, choice, promised):
                return alone
    exact = _lossless_within(job, budget, scale_log2)
    if exact is not None:
        return exact
    found = fit_shot(job, budget)
    if found is not None:
        if alone is not None and base_error(job, alone, softened=True) <= LAYERS_HANDICAP * found.error():
            return alone
        packets, size = found.packets(budget)
        if size <= budget:
            return packets
    return alone if alone is not None else fit_budget(job, budget, scale_log2, job.model.price, luma_error).packets


def _layers_may_win(job: Job, budget: int, alone: Choice, handicap: float) -> bool:
    """Whether layers may be better than a base alone by more than a handicap, as some bands of the picture tell."""
    effort = job.effort(alone.price)
    bands = survey(job.picture, job.encoding(0, alone.index))
    step = min(round(STEP_AT_INDEX_0 + STEPS_PER_INDEX * alone.index), COARSEST)
    for _ in range(2):
        shot = survey_shot(job, bands, step)
        bits = 8 * shot.room(SAFETY * budget)
        if bits <= 0:
            return False
        level, _, error = foretell_step(shot, bits, step)
        step = round(level)
        if abs(base_index(step, steps_deeper(job.base)) - shot.index) <= CLOSE_ENOUGH:
            break
    return bands.base_error(alone.index, effort) > handicap * error


def _lossless_within(job: Job, budget: int, scale_log2: int | None) -> list[bytes] | None:
    """The lossless stream if it fits the budget."""
    extended = header_size(job.base, job.extensions) - header_size(job.base, ())
    if job.packet_size < LOSSLESS_LEAST_PACKET + extended or job.protection is not None:
        return None
    most = 8 * LOSSLESS_DOUBT * budget
    if any(lossless_bits(job.picture, job.base, *look) > doubt * most for *look, doubt in QUICK_LOOKS):
        return None
    if lossless_bits(job.picture, job.base) > most:
        return None
    packets = lossless(job, None, scale_log2)
    return packets if job.size(packets) <= budget else None


def lossless(job: Job, quality_index: int | None, scale_log2: int | None) -> list[bytes]:
    """A preview and layer 15 of every block."""
    index = LOSSLESS_INDEX if quality_index is None else quality_index
    if scale_log2 is None:
        scale_log2 = LOSSLESS_SCALE_LOG2 if quality_index is None else 0
    base = [unpack(p)[0] for p in job.packets(scale_log2, index)]
    if job.tag is None:
        base = with_tag(base, retag(base[0].description.tag, LAYER_LOSSLESS))
    d = base[0].description
    packer = Packer(d, index, job.packet_size, job.extensions)
    rows, columns = -(-d.height // BLOCK), -(-d.width // BLOCK)
    lossless_sections(lossless_planes(job.picture, d), Rect(0, rows, 0, columns), d, packer)
    return job.seal(base) + packer.packed()
