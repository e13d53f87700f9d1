"""`onboard-train layers`: the code tables of the higher layers, from pictures. They belong to the format.

Which of a coder's table sets a section uses is the encoder's choice, so the sets are what clusters the sections best:
every sample goes to the set that codes it in the fewest bits, every set is fitted to its samples, round by round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onboard.encoder import Effort, analyse_picture, quantise
from onboard.kernels import lossless, refine
from onboard.kernels.entropy import UNITS
from onboard.kernels.lossless import code_lossless
from onboard.kernels.predict import predict
from onboard.kernels.refine_code import count_refinement, forward
from onboard.kernels.transform import add_inverse
from onboard.layer_header import LAYER_STEPS
from onboard.model import Model, default_model
from onboard.planes import phase_order
from onboard.reference import reference_plane, value_limit, whole, work_kind
from onboard.refiner import base_index, zone
from onboard.tables import LOSSLESS_SETS, REFINE_SETS, pack_tables
from onboard.wire import Colour
from training.codes import package_merge
from training.pictures import describe, find, load, luma, readable, split

STEPS = (16, 32, 48, 60, 72, 84, 92, 100, 108, 116)  # indices into LAYER_STEPS: 2 to 152 samples
SECTION_BLOCKS = 1024
SMOOTHING = 0.05
ROUNDS = 8
RARE = 1e-4  # of all samples, added to each set: what it has not seen
EMPTY_LEVEL = 0


def fit_tables(folders: list[Path]) -> bytes:
    """The file of format tables."""
    train, _ = split(readable(find(folders)))
    model = default_model()
    refined, exact = [], []
    for picture in load(train, "symbols of the layers"):
        refined += refinement_samples(picture, model)
        exact.append(lossless_sample(picture))
    return pack_tables(
        (
            cluster(np.array(refined), REFINE_SETS, refine.KINDS, refine.MAX_LENGTH, _refine_never()),
            cluster(np.array(exact), LOSSLESS_SETS, lossless.KINDS, lossless.MAX_LENGTH, np.zeros(0, int)),
        )
    )


def _refine_never() -> np.ndarray:
    """Symbols of runs of empty blocks in contexts that have none."""
    n = refine.RUN_SYMBOLS
    contexts = [c for c in range(refine.RUN_CONTEXTS) if c != 2 * EMPTY_LEVEL]
    return np.array([refine.RUN_BASE + c * n + refine.SKIP + 1 + i for c in contexts for i in range(refine.EMPTY_RUNS)])


def refinement_samples(picture: np.ndarray, model: Model) -> list[np.ndarray]:
    """Symbol counts of one picture: single-shot at every step, a preview refined, and a refinement refined."""
    plane = luma(picture)
    description = describe(plane, Colour.GREY)
    (kept,) = analyse_picture(plane, description, model, 0, Effort(0, 0)).planes
    rect = whole(description, 0)
    blocks = np.arange(rect.rows * rect.columns, dtype=np.int32)
    order = phase_order(rect.rows, rect.columns, 0, 0)
    work = work_kind(8)

    def reference(index: int, foretold: bool) -> np.ndarray:
        symbols = quantise(kept, model, index, Effort(model.threshold, model.price))
        steps = model.steps(index)
        first = (symbols.first * steps[0]).astype(np.int16)
        group = np.ones_like(symbols.group) if foretold else symbols.group
        rest = np.zeros((len(first), 1 + UNITS), np.int16)
        if not foretold:
            rest[:, :UNITS] = symbols.rest * steps[1:] * group[:, None]
        predict(first, rest, group, kept.columns, model.prediction_matrix, rest)
        return reference_plane(description, model, 0, (first, rest, group), kept.columns, rect)

    def sample(base: np.ndarray, step: int) -> np.ndarray:
        counts = np.zeros((1, refine.SET_SYMBOLS), np.int64)
        count_refinement(
            plane, base, order, rect.columns, work, LAYER_STEPS[step], zone(step), rect.rows, rect.columns,
            SECTION_BLOCKS, 1, counts, np.zeros((1, 2), np.int64),
        )  # fmt: skip
        return counts[0]

    found = []
    for step in STEPS:
        index = base_index(step)
        found.append(sample(reference(index, True), step))
    preview = reference(128, False)
    found += [sample(preview, step) for step in STEPS[:-2]]
    coarse = preview.copy()
    coefficients = np.empty((len(blocks), 64), np.int16)
    forward(plane, coarse, blocks, rect.columns, work, coefficients)
    values = (np.sign(coefficients) * ((np.abs(coefficients.astype(int)) + 170) // LAYER_STEPS[80])).astype(np.int32)
    filled, place = np.nonzero(values)
    ends = np.bincount(filled, minlength=len(blocks)).cumsum(dtype=np.int32)
    packed = (64 * values[filled, place] + place).astype(np.int32)
    add_inverse(packed, ends, LAYER_STEPS[80], blocks, rect.columns, value_limit(8), 255, work, coarse)
    return found + [sample(coarse, step) for step in (16, 32, 48)]


def lossless_sample(picture: np.ndarray) -> np.ndarray:
    """Symbol counts of the first channel of one picture."""
    plane = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., 1])
    rows, columns = -(-plane.shape[0] // 8), -(-plane.shape[1] // 8)
    padded = np.pad(plane, ((0, 8 * rows - plane.shape[0]), (0, 8 * columns - plane.shape[1])), mode="edge")
    counts = np.zeros(lossless.SET_SYMBOLS, np.int64)
    depth = 8 if plane.itemsize == 1 else max(int(plane.max()).bit_length(), 9)
    order = phase_order(rows, columns, 0, 0)
    room = plane.size * 4
    code_lossless(
        padded, 1 << (depth - 1), order, rows, columns, True, 0, np.zeros(lossless.SET_SYMBOLS, np.uint16),
        np.zeros(len(order), np.uint8), np.empty(room + lossless.SLACK, np.uint8), room, counts,
    )  # fmt: skip
    return counts


def cluster(
    samples: np.ndarray, sets: int, kinds: tuple[tuple[int, int, int], ...], longest: int, never: np.ndarray
) -> np.ndarray:
    """uint8 (sets, symbols) code lengths of `sets` clusters of samples, the ones with most bits per symbol last."""
    contexts = [slice(base + c * n, base + (c + 1) * n) for base, many, n in kinds for c in range(many)]
    may_occur = np.ones(samples.shape[1], bool)
    may_occur[never] = False
    everything = samples.sum(0)
    rank = np.argsort(np.argsort(samples @ ideal(everything, contexts) / samples.sum(1)))
    member = rank * sets // len(samples)
    for _ in range(ROUNDS):
        costs = np.stack([ideal(samples[member == s].sum(0) + everything * RARE, contexts) for s in range(sets)])
        member = (samples @ costs.T).argmin(1)
    totals = [samples[member == s].sum(0) + everything * RARE for s in range(sets)]
    return np.stack([code_lengths(total, contexts, longest, may_occur) for total in totals])


def ideal(counts: np.ndarray, contexts: list[slice]) -> np.ndarray:
    """Ideal code lengths, float64."""
    found = np.zeros(len(counts))
    for row in contexts:
        c = counts[row] + SMOOTHING
        found[row] = -np.log2(c / c.sum())
    return found


def code_lengths(counts: np.ndarray, contexts: list[slice], longest: int, may_occur: np.ndarray) -> np.ndarray:
    """Code lengths of a table set; every context keeps one word of its longest length for padding."""
    lengths = np.zeros(len(counts), np.uint8)
    for row in contexts:
        at = row.start + np.flatnonzero(may_occur[row])
        lengths[at] = package_merge(np.append(counts[at] + SMOOTHING, 0.0), longest)[:-1]
    return lengths
