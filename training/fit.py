"""`onboard-train fit`: pictures to a model file, a report and pictures of the units.

Everything is a stream over the pictures: memory does not depend on how many there are. Nothing is random.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onboard.encoder import Effort, PlaneLatents, analyse_picture, quantise, threshold_energy
from onboard.errors import InputError, ModelError
from onboard.image_io import png_bytes, write_bytes
from onboard.kernels.entropy import SET_SYMBOLS
from onboard.kernels.predict import add_prediction
from onboard.model import SETS, Model
from onboard.planes import plane_count
from onboard.wire import STEPS, Colour
from training import codes, units
from training.pictures import blocks, describe, find, load, luma, readable, split

OPERATING = (88, 112, 136, 160, 184)  # quantiser indices that previews use: steps 27, 45, 76, 128 and 215
SET_LIMITS = (84, 128)
SET_INDICES = ((0, 24, 52, 72), (88, 102, 116), (132, 144, 156, 168, 184))  # where each set's symbols are counted
FIRST_GAIN = 51  # first latents are quantised 0.8 times as coarsely
CHROMA_OFFSET = -16  # 0.7 of luma's step: level in (6 Y + Cb + Cr) / 8, 0.1 to 0.3 dB better in RGB than 8
SHAPING = 256  # threshold in (step / 8)^2 / 256 beyond which blocks shape units 2 to 8
# The board's: against 256 it saves 0.6 % of bytes with the linear decoder and 1.1 % with nets, and costs 0.7 % plain.
THRESHOLD = 400
DEAD_ZONE = 102  # 0.4 of a step
PRICE = 26  # a bit is worth a tenth of a squared step
GROUP2_BITS = 10  # bits that a group-2 block costs more, for the choice of the blocks that shape units 2 to 8
LEAST_RESPONSE = 32  # first latent of a flat block a level off mid-grey, in sixteenths: 128 of a unit that is flat
FIXED_POINT = 1e-5
MAX_ROUNDS = 8


@dataclass(frozen=True)
class Fit:
    """A fitted model, its report and its units (float64 (8, 64))."""

    model: Model
    report: dict
    units: np.ndarray


def fit(folders: list[Path]) -> Fit:
    """Fit everything the board and the normative decoder need. Raises InputError when the pictures do not allow it."""
    paths = readable(find(folders))
    try:
        return _fit(folders, *split(paths))
    except (ModelError, np.linalg.LinAlgError) as e:
        raise InputError(f"too little in these pictures to fit a model ({e})") from None


def _fit(folders: list[Path], train: list[Path], validation: list[Path]) -> Fit:
    float_units, spectrum, rounds = fit_units(train)
    weights = np.concatenate([units.quantise_rows(float_units[:1]), units.balance_rows(float_units[1:])])
    multiplier, shift = units.latent_scale(weights)
    rows = weights / np.sqrt((weights.astype(float) ** 2).sum(1))[:, None]
    decoder, decoder_gains = units.decoder_rows(rows)
    model = Model(
        SET_LIMITS,
        CHROMA_OFFSET,
        THRESHOLD,
        DEAD_ZONE,
        PRICE,
        np.array([FIRST_GAIN] + [64] * 7, np.uint8),
        weights,
        multiplier,
        shift,
        np.zeros((7, 8), np.int8),
        decoder[0],
        int(decoder_gains[0]),
        decoder,
        decoder_gains,
        _flat_lengths(),
    )
    model = replace(model, prediction=fit_prediction(train, model))
    model = refit_decoders(train, model)
    counts, tables = count_tables(train, model)
    model = replace(model, lengths=tables)
    report = {
        "model_id": f"{model.model_id:04x}",
        "model_bytes": len(model.data),
        "folders": [p.resolve().name for p in folders],
        "pictures": {"train": len(train), "validation": len(validation)},
        "fixed_point_rounds": rounds,
        "spectrum": {k: [round(float(x), 6) for x in v[:16] / v.sum()] for k, v in spectrum.items()},
        "mse": {
            "train": group_errors(train, model, float_units),
            "validation": group_errors(validation, model, float_units) if validation else {},
        },
        "codes": code_report(counts, count_symbols(validation, model), model),
    }
    return Fit(model, report, float_units)


def write(result: Fit, out: Path) -> None:
    """Write the model file, the report and the picture of the units. Raises InputError."""
    shown = png_bytes(units.picture_of_units(result.model.weights.astype(float)))
    contents = result.model.data, (json.dumps(result.report, indent=1) + "\n").encode(), shown
    for path, data in zip(outputs(out), contents, strict=True):
        write_bytes(str(path), data)


def outputs(out: Path) -> tuple[Path, Path, Path]:
    """Model file, `.json` report and `.png` of the units beside it."""
    return out, out.with_suffix(".json"), out.with_suffix(".png")


def fit_units(paths: list[Path]) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
    """G1 from all blocks; units 2 to 8 from what G1 leaves of the blocks that are worth sending in group 2.

    Which blocks those are depends on units 2 to 8 (is the gain worth the bits?), so the two are iterated to a fixed
    point.
    """
    moments = np.zeros((64, 64))
    for picture in load(paths, "moments"):
        x = blocks(luma(picture)).reshape(-1, 64)
        moments += x.T @ x
    first, spectrum1 = units.principal_units(moments, 1)
    rest: np.ndarray | None = None
    rounds = 0
    while True:
        rounds += 1
        left_moments = np.zeros((64, 64))
        for picture in load(paths, f"group 2, round {rounds}"):
            x = blocks(luma(picture)).reshape(-1, 64)
            left = x - (x @ first.T) @ first
            energy = (left * left).sum(1)
            captured = energy if rest is None else ((left @ rest.T) ** 2).sum(1)
            for index in OPERATING:
                step = STEPS[index] / 16
                chosen = energy > SHAPING / 256 * step * step
                chosen &= captured > PRICE / 256 * step * step * GROUP2_BITS
                left_moments += left[chosen].T @ left[chosen] / (step * step)
        fitted, spectrum2 = units.principal_units(left_moments, 7)
        moved = 1.0 if rest is None else float(np.linalg.norm(fitted.T @ fitted - rest.T @ rest))
        rest = fitted
        if moved < FIXED_POINT or rounds == MAX_ROUNDS:
            return np.concatenate([first, rest]), {"all blocks": spectrum1, "group 2": spectrum2}, rounds


def _flat_lengths() -> np.ndarray:
    """Code lengths before any statistics exist: valid, of no use."""
    return np.stack([codes.code_lengths(np.zeros(SET_SYMBOLS, np.int64))] * SETS)


def analysed(picture: np.ndarray, model: Model, colour: Colour = Colour.GREY) -> tuple[PlaneLatents, ...]:
    return analyse_picture(picture, describe(picture, colour), model, 0, Effort(0, 0)).planes


def decoded(plane: PlaneLatents, model: Model, index: int) -> tuple[np.ndarray, np.ndarray]:
    """What the ground has of a plane: latents in units float64 (blocks, 8) (zeros where group 1 sends none), groups."""
    symbols = quantise(plane, model, index, Effort(model.threshold, model.price))
    steps = model.steps(index)
    first = (symbols.first * steps[0]).astype(np.int16)
    rest = (symbols.rest * steps[1:] * symbols.group[:, None]).astype(np.int16)
    add_prediction(first, symbols.group, plane.columns, model.prediction_matrix, rest)
    return np.concatenate([first[:, None], rest], 1) / 16, symbols.group


def fit_prediction(paths: list[Path], model: Model) -> np.ndarray:
    """Least squares of latents 2 to 8 on differences of the dequantised first latents around: int8 (7, 8), 1/256."""
    left, right = np.zeros((8, 8)), np.zeros((8, 7))
    for picture in load(paths, "prediction"):
        (plane,) = analysed(picture, model)
        for index in OPERATING:
            step = int(model.steps(index)[0])
            first = np.rint(plane.latents[:, 0].reshape(plane.rows, plane.columns) / step) * step
            padded = np.pad(first, 1, mode="edge")
            around = [
                padded[dy : dy + plane.rows, dx : dx + plane.columns] - first
                for dy, dx in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2))
            ]
            x = np.stack(around, -1).reshape(-1, 8)
            chosen = plane.residual > threshold_energy(model, index, Effort(model.threshold, model.price))
            y = plane.latents[chosen, 1:].astype(float)
            left += x[chosen].T @ x[chosen] / step**2
            right += x[chosen].T @ y / step**2
    return np.clip(np.rint(np.linalg.solve(left, right).T * 256), -127, 127).astype(np.int8)


def refit_decoders(paths: list[Path], model: Model) -> Model:
    """Decoder weights for the quantised encoder's decoded latents: a first latent alone is a flat block, exactly; the
    others are best for what that leaves.

    A first latent whose weights bulge, as the encoder's do, errs less on blocks near mid-grey and shows a pattern in
    every dark or bright one: 0.1 dB worse at 32 dB, and 2 dB at 44, where the first latents alone foretell layer 2.
    """
    response = int(model.weights[0].sum(dtype=int)) * int(model.multiplier[0]) / (1 << int(model.shift[0]))
    if response < LEAST_RESPONSE:
        raise ModelError("the first unit says next to nothing of a flat block")
    flat = np.full(64, 16 / response)
    left, right = np.zeros((7, 7)), np.zeros((7, 64))
    for picture in load(paths, "decoders"):
        (plane,) = analysed(picture, model)
        x = blocks(luma(picture)).reshape(-1, 64)
        for index in OPERATING:
            z, group = decoded(plane, model, index)
            two, rest = group == 1, z[group == 1, 1:]
            left += rest.T @ rest
            right += rest.T @ (x[two] - np.outer(z[two, 0], flat))
    decoder1, gain1 = units.decoder_rows(flat[None])
    decoder2, gains2 = units.decoder_rows(np.concatenate([flat[None], np.linalg.solve(left, right)]))
    return replace(model, decoder1=decoder1[0], decoder1_gain=int(gain1[0]), decoder2=decoder2, decoder2_gains=gains2)


def count_symbols(paths: list[Path], model: Model) -> np.ndarray:
    """Symbol counts per table set over all planes: int64 (SETS, SET_SYMBOLS)."""
    counts = np.zeros((SETS, SET_SYMBOLS), np.int64)
    effort = Effort(model.threshold, model.price)
    for picture in load(paths, "symbols"):
        colour = Colour.YCBCR420 if picture.ndim == 3 else Colour.GREY
        planes = analysed(picture, model, colour)
        for table_set, indices in enumerate(SET_INDICES):
            for index in indices:
                for plane in range(plane_count(colour)):
                    at = model.plane_index(index, plane)
                    if model.table_set(at) == table_set:
                        codes.count_symbols(quantise(planes[plane], model, index, effort, plane), counts[table_set])
    return counts


def count_tables(paths: list[Path], model: Model) -> tuple[np.ndarray, np.ndarray]:
    counts = count_symbols(paths, model)
    return counts, np.stack([codes.code_lengths(c) for c in counts])


def group_errors(paths: list[Path], model: Model, float_units: np.ndarray) -> dict[str, dict[str, float]]:
    """MSE per pixel of each group at the operating indices: float units and int8 weights, latents unquantised."""
    total: dict[int, np.ndarray] = {index: np.zeros(6) for index in OPERATING}
    for picture in load(paths, "errors"):
        (plane,) = analysed(picture, model)
        x = blocks(luma(picture)).reshape(-1, 64)
        z = x @ float_units.T
        own = plane.latents / 16
        for index in OPERATING:
            _, group = decoded(plane, model, index)
            for g, n in ((0, 1), (1, 8)):
                at = group == g
                exact = x[at] - z[at, :n] @ float_units[:n]
                weights = model.decoder1[None] if g == 0 else model.decoder2
                gains = np.array([model.decoder1_gain]) if g == 0 else model.decoder2_gains
                int8 = x[at] - own[at, :n] @ (weights * (gains / 2**20)[:, None])
                total[index][3 * g : 3 * g + 3] += at.sum() * 64, (exact**2).sum(), (int8**2).sum()
    return {
        str(index): {
            "group1_share": round(float(t[0] / (t[0] + t[3])), 4),
            "group1_float": round(float(t[1] / max(t[0], 1)), 3),
            "group1_int8": round(float(t[2] / max(t[0], 1)), 3),
            "group2_float": round(float(t[4] / max(t[3], 1)), 3),
            "group2_int8": round(float(t[5] / max(t[3], 1)), 3),
        }
        for index, t in total.items()
    }


def code_report(train: np.ndarray, validation: np.ndarray, model: Model) -> list[dict[str, float | None]]:
    """Per table set: bits of the code words against the entropy of the same symbols in the same contexts, None where
    there are no symbols."""

    def excess(counts: np.ndarray, lengths: np.ndarray) -> float | None:
        return round(float(counts @ lengths) / max(codes.entropy_bits(counts), 1.0), 4) if counts.any() else None

    return [
        {
            "train_bits_over_entropy": excess(t, lengths),
            "validation_bits_over_entropy": excess(v, lengths),
            "symbols_counted": int(t.sum()),
        }
        for t, v, lengths in zip(train, validation, model.lengths.astype(np.int64), strict=True)
    ]
