"""A model as a C header for the encoder in firmware_sim/c: everything that it must not type again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from onboard import erasure, stream, stream_rate, wire
from onboard.errors import ModelError
from onboard.kernels import entropy
from onboard.model import SETS, Model

_WIRE = ["MAGIC", "VERSION", "MIN_PACKET", "MAX_SIDE", "BLOCK", "STRIPE", "QUAD", "MAX_INDEX"]
_STREAM = [
    "MAX_QUOTA",
    "KEEP_INDEX",
    "SHARE_INDEX",
    "SHARE_ROWS",
    "CLOSE_COARSER",
    "CLOSE_ROWS",
    "NEAR",
    "NEAR_QUOTA",
    "JUMP",
]
_RATE = [
    "HALVES",
    "LEAST_BITS",
    "THRESHOLD",
    "USUAL_COST",
    "USUAL_SIZE",
    "SIZE_FALL",
    "GREY",
    "DETAIL_BITS",
    "HALF_BITS",
    "HALF",
    "KEEP",
    "ROW",
    "CAUTION",
    "PACKET_COST",
    "LEAST_ROW",
    "LEAST_LAST",
    "OPEN_BITS",
    "OCTAVE",
    "FIRST_TARGET",
    "CLOSE_FINER",
    "CLOSE_BYTES",
    "MUCH",
]
_ENTROPY = [
    "FIRST_DIRECT",
    "FIRST_PAIR",
    "FIRST_FOUR",
    "FIRST_SYMBOLS",
    "FIRST_SPLIT",
    "STRONG_LEAN",
    "FIRST_STRONG",
    "FIRST_ALONE",
    "QUAD_ZEROS",
    "QUAD_ONES",
    "QUAD_ZEROS4",
    "QUAD_SYMBOLS",
    "UNITS",
    "MASK_SYMBOLS",
    "MASK_LEVEL",
    "SIZE_DIRECT",
    "SIZE_SYMBOLS",
    "SIZE_FORCED",
    "FIRST_BASE",
    "QUAD_BASE",
    "MASK_BASE",
    "SIZE_BASE",
    "SET_SYMBOLS",
]
MAX_SHIFT = 16  # of latents: with those of the model's check a product stays below 2^31
_SAMPLES = 4  # samples that a 32-bit word of pixels holds; UXTB16 takes 0 and 2, then 1 and 3
_LINE = 118


def header(model: Model) -> str:
    """The text of obc_model.h."""
    if model.shift.max() > MAX_SHIFT:
        raise ModelError(f"model has a latent shift above {MAX_SHIFT}, for which the C encoder has no room")
    words = np.stack([model.words(s) for s in range(SETS)])
    weights = model.weights.reshape(8, -1, _SAMPLES)[:, :, [0, 2, 1, 3]].reshape(8, 64)
    matrix = model.prediction.astype(int)
    own = -matrix.sum(1, keepdims=True)  # what the block's own latent weighs when it is not subtracted first
    parts = [
        f"/* Model {model.model_id:04x} for the C encoder: made by `onboard-train export-c`, not to be edited. */",
        "#ifndef OBC_MODEL_H\n#define OBC_MODEL_H\n\n#include <stdint.h>\n",
        *(_define(name, getattr(wire, name)) for name in _WIRE),
        *(_define(name, getattr(stream_rate, name)) for name in _RATE),
        _define("LEAST_HEADER", wire.HEADER.size),
        _define("INDEX_AT", wire.HEADER.size - wire.LENGTH.size - 1),
        _define("KIND_PARITY", wire.Kind.PARITY << 4),
        _define("ERASURE_TYPE", wire.ExtensionType.ERASURE),
        _define("ENTRY_BYTES", erasure.EXTENSION_SIZE),
        _define("PARITY_EXCESS", erasure.PARITY_EXCESS),
        _define("MAX_GROUP", erasure.MAX_GROUP),
        *(_define(name, getattr(stream, name)) for name in _STREAM),
        _define("MAX_STREAM_SCALE_LOG2", stream.MAX_SCALE_LOG2),
        *(_define(name, getattr(entropy, name)) for name in _ENTROPY),
        _define("SETS", SETS),
        _define("MODEL_ID", model.model_id),
        _define("CHROMA_OFFSET", model.chroma_offset),
        _define("DEAD_ZONE", model.dead_zone),
        _define("PRICE", model.price),
        f"#define OBC_NORM UINT64_C({model.norm})\n",
        _table("uint32_t obc_crc[2][16]", np.array([[_crc_byte(n << shift) for n in range(16)] for shift in (0, 4)])),
        _table("uint16_t obc_step[OBC_MAX_INDEX + 1]", wire.STEPS),
        _table("uint8_t obc_usual_detail[OBC_HALVES]", stream_rate.USUAL_DETAIL),
        _table("uint8_t obc_set_limits[2]", model.set_limits),
        _table("uint8_t obc_gain[8]", model.gains),
        _table("uint16_t obc_multiplier[8]", model.multiplier),
        _table("uint8_t obc_shift[8]", model.shift),
        _table("uint8_t obc_first_context[]", _contexts(entropy.FIRST_LEVELS)),
        _table("uint8_t obc_quad_context[]", _contexts(entropy.QUAD_LEVELS)),
        "/* Weights, eight units of 64; prediction of seven latents from eight neighbours and the block itself. For\n"
        " * SMLAD both are pairs of halfwords, the weights in the order in which UXTB16 unpacks samples. */\n"
        "#if OBC_DSP",
        _table("uint32_t obc_weights[8][32]", _pairs(weights)),
        _table("uint32_t obc_prediction[7][4]", _pairs(matrix)),
        _table("int16_t obc_prediction_own[7]", own.ravel()),
        "#else",
        _table("int16_t obc_prediction[7][9]", np.hstack([matrix, own])),
        _table("obc_weight obc_weights[8][64]", model.weights),
        "#endif\n",
        "#if OBC_MAX_PARITY",
        _table("uint8_t obc_gf_power[256]", erasure.POWERS.astype(int)),
        _table("uint8_t obc_gf_log[256]", erasure.LOGS.astype(int)),
        "#endif\n",
        "/* Code words: code << 4 | length, by table set, kind, context and symbol. */",
        _table("uint16_t obc_words[OBC_SETS][OBC_SET_SYMBOLS]", words),
        "#endif\n",
    ]
    return "\n".join(parts)


def _define(name: str, value: int) -> str:
    return f"#define OBC_{name} {int(value)}"


def _table(declaration: str, values: Iterable[int] | np.ndarray) -> str:
    array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values)
    return f"static const {declaration} = {_braces(array)};\n"


def _braces(array: np.ndarray) -> str:
    if array.ndim > 1:
        return "{\n" + ",\n".join(_braces(part) for part in array) + "}"
    lines, line = [], ""
    for value in array:
        text = f"{int(value)}u" if array.dtype == np.int64 and int(value) >= 1 << 31 else str(int(value))
        if len(line) + len(text) + 2 > _LINE:
            lines.append(line.rstrip())
            line = ""
        line += text + ", "
    return "{" + "\n ".join([*lines, line.rstrip(", ")]) + "}"


def _contexts(levels: tuple[int, ...]) -> list[int]:
    """Context of every value up to the highest level."""
    return [sum(value >= level for level in levels) for value in range(levels[-1] + 1)]


def _pairs(values: np.ndarray) -> np.ndarray:
    """Neighbours put together as halfwords of a word, the first one low."""
    halves = values.astype(np.int64) & 0xFFFF
    return halves[:, 0::2] | halves[:, 1::2] << 16


def _crc_byte(n: int) -> int:
    """Step of the reflected CRC-32 (ISO-HDLC) for eight bits."""
    for _ in range(8):
        n = n >> 1 ^ (0xEDB88320 if n & 1 else 0)
    return n
