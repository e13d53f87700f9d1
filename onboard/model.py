"""The trained model: int8 weights, prediction, code lengths. One small file that names itself by its checksum.

File layout (big-endian), FORMAT.md section 9: header, encoder, prediction, decoders, code lengths, CRC-32. The model id
is the low 16 bits of that CRC, so a model id names weights and tables for ever.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from os import PathLike
from pathlib import Path

import numpy as np

from onboard.errors import ModelError, UnknownModelError
from onboard.huffman import check_lengths, code_words, lookup_tables
from onboard.kernels.analyse import NORM_SHIFT
from onboard.kernels.entropy import MAX_FIRST, MAX_REST, SET_SYMBOLS
from onboard.wire import MAX_INDEX, STEPS

MODEL_MAGIC = b"OBCM"
MODEL_VERSION = 1
SETS = 3
DEFAULT_MODEL = "b9d5.obm"  # a file of models/, named by its id; those of releases stay, so that their streams decode

_HEADER = struct.Struct(">4sBBBbHBB")
_SIZE = _HEADER.size + 8 + 512 + 16 + 8 + 56 + 64 + 2 + 512 + 16 + SETS * SET_SYMBOLS // 2 + 4


@dataclass(frozen=True, eq=False)
class Model:
    """Weights and tables.

    Attributes:
        set_limits: the two quantiser indices at which table sets 1 and 2 begin.
        chroma_offset: what chroma planes add to the packet's quantiser index.
        threshold: encoder only: threshold on G1's MSE in units of (step / 8)^2 / 256.
        dead_zone, price: encoder only, see kernels.analyse.quantise_rest.
        gains: uint8 (8,) quantiser step of each unit in 1/64 of the index's step.
        weights: int8 (8, 64) encoder; multiplier uint16 (8,) < 4096 and shift uint8 (8,): latent in sixteenths.
        prediction: int8 (7, 8), 1/256.
        decoder1: int8 (64,), decoder1_gain: uint16 < 4096; decoder2: int8 (8, 64), decoder2_gains: uint16 (8,) < 4096.
        lengths: uint8 (SETS, SET_SYMBOLS) code lengths.
    """

    set_limits: tuple[int, int]
    chroma_offset: int
    threshold: int
    dead_zone: int
    price: int
    gains: np.ndarray
    weights: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    prediction: np.ndarray
    decoder1: np.ndarray
    decoder1_gain: int
    decoder2: np.ndarray
    decoder2_gains: np.ndarray
    lengths: np.ndarray

    def __post_init__(self) -> None:
        reach = 128 * np.abs(self.weights.astype(np.int64)).sum(1) * self.multiplier >> self.shift
        finest = np.maximum(self.steps(0), 1)
        for ok, what in (
            (0 < self.set_limits[0] <= self.set_limits[1] <= MAX_INDEX + 1, f"table set limits {self.set_limits}"),
            (self.gains.min() > 0, "a unit with quantiser gain 0"),
            (self.gains.max() <= 96, "a quantiser gain above 96/64"),
            (np.abs(self.weights.astype(int)).max() <= 127, "an encoder weight of -128"),
            (self.weights[0].any(), "an all-zero first unit"),
            (self.multiplier.max() < 4096, "a latent multiplier above 4095"),
            (self.shift.min() >= 1, "a latent shift of 0"),
            (reach.max() < 32768 - 4096, "latents that do not fit 16 bits"),
            (self.shift.max() <= 24, "a latent shift above 24"),
            (reach[0] // finest[0] < MAX_FIRST, "first latents that the format cannot code at the finest index"),
            (((reach[1:] + 32768) // finest[1:]).max() < MAX_REST, "latents that the format cannot code at index 0"),
            (max(self.decoder1_gain, int(self.decoder2_gains.max())) < 4096, "a decoder gain above 4095"),
        ):
            if not ok:
                raise ModelError(f"model has {what}")
        for lengths in self.lengths:
            check_lengths(lengths)

    @cached_property
    def data(self) -> bytes:
        """The model file."""
        nibbles = self.lengths.reshape(-1, 2)
        body = b"".join(
            (
                _HEADER.pack(
                    MODEL_MAGIC,
                    MODEL_VERSION,
                    *self.set_limits,
                    self.chroma_offset,
                    self.threshold,
                    self.dead_zone,
                    self.price,
                ),
                self.gains.astype(np.uint8).tobytes(),
                self.weights.astype(np.int8).tobytes(),
                self.multiplier.astype(">u2").tobytes(),
                self.shift.astype(np.uint8).tobytes(),
                self.prediction.astype(np.int8).tobytes(),
                self.decoder1.astype(np.int8).tobytes(),
                int(self.decoder1_gain).to_bytes(2, "big"),
                self.decoder2.astype(np.int8).tobytes(),
                self.decoder2_gains.astype(">u2").tobytes(),
                (nibbles[:, 0] << 4 | nibbles[:, 1]).astype(np.uint8).tobytes(),
            )
        )
        return body + zlib.crc32(body).to_bytes(4, "big")

    @property
    def model_id(self) -> int:
        return int.from_bytes(self.data[-2:], "big")

    @cached_property
    def norm(self) -> int:
        """2^40 / |first unit|^2, rounded: what turns an accumulator's square into G1's share of the energy."""
        square = int((self.weights[0].astype(np.int64) ** 2).sum())
        return ((1 << NORM_SHIFT) + square // 2) // square

    @cached_property
    def encoder_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """weights int16, multiplier and shift int64, as kernels.analyse.analyse takes them."""
        return self.weights.astype(np.int16), self.multiplier.astype(np.int64), self.shift.astype(np.int64)

    @cached_property
    def prediction_matrix(self) -> np.ndarray:
        return self.prediction.astype(np.int32)

    @cached_property
    def decoder_arrays(self) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
        """weights1 int32, gain1, weights2 int32, gains2 int64, as kernels.synthesise.synthesise takes them."""
        return (
            self.decoder1.astype(np.int32),
            int(self.decoder1_gain),
            self.decoder2.astype(np.int32),
            self.decoder2_gains.astype(np.int64),
        )

    def plane_index(self, index: int, plane: int) -> int:
        """Quantiser index that holds in a plane: chroma planes (1 and 2) shift by the model's offset."""
        return min(max(index + self.chroma_offset, 0), MAX_INDEX) if plane else index

    def steps(self, index: int) -> np.ndarray:
        """Quantiser steps of the eight units at a plane's index: int32 (8,) in sixteenths, each below 2^13."""
        return (STEPS[index] * self.gains.astype(np.int32) + 32) >> 6

    def table_set(self, index: int) -> int:
        """Table set that codes a plane at this index."""
        return sum(index >= limit for limit in self.set_limits)

    def has_latents_of(self, other: Model) -> bool:
        """Whether the two differ in their code lengths at most: what decodes latents of the one fits the other."""
        return replace(self, lengths=other.lengths).data == other.data

    @lru_cache(maxsize=SETS)  # noqa: B019 - a model lives as long as the process
    def words(self, table_set: int) -> np.ndarray:
        return code_words(self.lengths[table_set])

    @lru_cache(maxsize=SETS)  # noqa: B019
    def lookup(self, table_set: int) -> np.ndarray:
        return lookup_tables(self.lengths[table_set])


def parse_model(data: bytes) -> Model:
    """A model from its file's bytes. Raises ModelError when anything about it is off."""
    if len(data) != _SIZE or data[:4] != MODEL_MAGIC:
        raise ModelError(f"not a model file: {len(data)} bytes, a model has {_SIZE} and begins with {MODEL_MAGIC!r}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise ModelError("model file is corrupt: CRC-32 does not match")
    _, version, limit1, limit2, chroma_offset, threshold, dead_zone, price = _HEADER.unpack_from(data)
    if version != MODEL_VERSION:
        raise ModelError(f"model file version {version}, this program knows {MODEL_VERSION}")
    at = _HEADER.size

    def take(dtype: str, *shape: int) -> np.ndarray:
        nonlocal at
        count = int(np.prod(shape))
        found = np.frombuffer(data, dtype, count, at).reshape(shape)
        at += found.nbytes
        return found

    gains, weights, multiplier, shift = take("u1", 8), take("i1", 8, 64), take(">u2", 8), take("u1", 8)
    prediction, decoder1, gain1 = take("i1", 7, 8), take("i1", 64), int(take(">u2", 1)[0])
    decoder2, gains2 = take("i1", 8, 64), take(">u2", 8)
    nibbles = take("u1", SETS * SET_SYMBOLS // 2)
    lengths = np.stack([nibbles >> 4, nibbles & 15], -1).reshape(SETS, SET_SYMBOLS)
    return Model(
        (limit1, limit2),
        chroma_offset,
        threshold,
        dead_zone,
        price,
        gains,
        weights,
        multiplier,
        shift,
        prediction,
        decoder1,
        gain1,
        decoder2,
        gains2,
        lengths,
    )


def load_model(path: str | PathLike[str]) -> Model:
    """Read and validate a model file. Raises ModelError, which names the file."""
    try:
        return parse_model(Path(path).read_bytes())
    except ModelError as e:
        raise ModelError(f"{path}: {e}") from None
    except OSError as e:
        raise ModelError(f"{path}: {e.strerror or e}") from None


@lru_cache(maxsize=1)
def shipped_models() -> dict[int, Model]:
    """Models that come with the package, by model id."""
    folder = files("onboard") / "models"
    found = [parse_model(f.read_bytes()) for f in folder.iterdir() if f.name.endswith(".obm")]
    return {m.model_id: m for m in found}


@lru_cache(maxsize=1)
def default_model() -> Model:
    """The model that encoders use unless told otherwise."""
    return parse_model((files("onboard") / "models" / DEFAULT_MODEL).read_bytes())


def find_model(model_id: int, extra: dict[int, Model] | None = None) -> Model:
    """The model that a packet names. Raises UnknownModelError, which lists the ids at hand."""
    known = shipped_models() | (extra or {})
    if model_id not in known:
        raise UnknownModelError(model_id, list(known))
    return known[model_id]
