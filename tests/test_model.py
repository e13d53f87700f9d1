"""The model file: it names itself, and nothing that is off about it gets past loading."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from onboard.errors import ModelError, UnknownModelError
from onboard.kernels.entropy import MAX_FIRST, MAX_REST
from onboard.model import SETS, Model, default_model, find_model, load_model, parse_model, shipped_models
from onboard.wire import MAX_INDEX, STEPS
from tests import reference

LENGTHS_SIZE = SETS * reference.SET_SYMBOLS // 2


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "big")


def changed(model: Model, name: str, at: tuple[int, ...], value: int) -> dict[str, np.ndarray]:
    array = getattr(model, name).copy()
    array[at] = value
    return {name: array}


def test_a_model_file_survives_parsing(model):
    again = parse_model(model.data)
    assert again.data == model.data
    for name in ("gains", "weights", "multiplier", "shift", "prediction", "decoder1", "decoder2", "decoder2_gains"):
        assert np.array_equal(getattr(again, name), getattr(model, name)), name
    for name in ("set_limits", "chroma_offset", "threshold", "dead_zone", "price", "decoder1_gain"):
        assert getattr(again, name) == getattr(model, name), name
    assert np.array_equal(again.lengths, model.lengths)


def test_every_field_has_its_own_place_in_the_file(model):
    for name, value in (
        ("set_limits", (3, 201)),
        ("chroma_offset", -5),
        ("threshold", 0x1234),
        ("dead_zone", 77),
        ("price", 201),
        ("decoder1_gain", 0x0ABC),
    ):
        again = parse_model(replace(model, **{name: value}).data)
        assert getattr(again, name) == value
        assert again.model_id != model.model_id
    for name, at, value in (
        ("gains", (5,), 61),
        ("weights", (7, 3), -77),
        ("multiplier", (6,), 0x0123),
        ("shift", (6,), 23),
        ("prediction", (6, 1), -99),
        ("decoder1", (62,), -101),
        ("decoder2", (3, 9), 55),
        ("decoder2_gains", (2,), 0x0321),
    ):
        again = parse_model(replace(model, **changed(model, name, at, value)).data)
        assert getattr(again, name)[at] == value
        assert (getattr(again, name) != getattr(model, name)).sum() == 1
    assert _with_lengths(model, model.lengths) == model.data


def test_models_with_other_code_tables_have_the_same_latents_and_no_others(model):
    lengths = np.roll(model.lengths, 1, axis=0)
    assert replace(model, lengths=lengths).has_latents_of(model)
    assert not replace(model, lengths=lengths, price=model.price + 1).has_latents_of(model)


def test_the_id_is_the_end_of_the_checksum(model):
    assert model.model_id == zlib.crc32(model.data[:-4]) & 0xFFFF
    assert model.data[-2:] == model.model_id.to_bytes(2, "big")


def test_the_twin_reads_the_same_model(model):
    twin = reference.read_model(model.data)
    assert (twin.set_limits, twin.chroma_offset) == (model.set_limits, model.chroma_offset)
    assert twin.gains == model.gains.tolist() and twin.matrix == model.prediction_matrix.tolist()
    weights1, gain1, weights2, gains2 = model.decoder_arrays
    assert (twin.weights1, twin.gains1) == ([weights1.tolist()], [gain1])
    assert (twin.weights2, twin.gains2) == (weights2.tolist(), gains2.tolist())


def test_a_model_is_small(model):
    assert len(model.data) < 4096


def test_every_changed_byte_is_refused(model):
    data = bytearray(model.data)
    for at in range(len(data)):
        data[at] ^= 1 << at % 8
        with pytest.raises(ModelError):
            parse_model(bytes(data))
        data[at] ^= 1 << at % 8


def test_every_other_length_is_refused(model):
    for length in (0, 3, 4, 5, len(model.data) - 1):
        with pytest.raises(ModelError, match="not a model file"):
            parse_model(model.data[:length])
        with pytest.raises(ModelError, match="not a model file"):
            parse_model(sealed(model.data[:length]))
    with pytest.raises(ModelError, match="not a model file"):
        parse_model(model.data + b"\0")


def test_another_version_is_refused(model):
    data = bytearray(model.data[:-4])
    data[4] += 1
    with pytest.raises(ModelError, match="version 2"):
        parse_model(sealed(bytes(data)))


SENSELESS = {
    "table set limit of 0": {"set_limits": (0, 50)},
    "table set limits upside down": {"set_limits": (60, 50)},
    "table set limit past the last index": {"set_limits": (50, 202)},
    "decoder gain": {"decoder1_gain": 4096},
}
SENSELESS_ENTRY = {
    "quantiser gain of 0": ("gains", (3,), 0),
    "quantiser gain too large": ("gains", (3,), 97),
    "encoder weight of -128": ("weights", (2, 5), -128),
    "all-zero first unit": ("weights", (0, slice(None)), 0),
    "latent multiplier": ("multiplier", (4,), 4096),
    "latent shift of 0": ("shift", (4,), 0),
    "latent shift above 24": ("shift", (4,), 25),
    "latent shift past 64 bits": ("shift", (4,), 65),
    "latents past 16 bits": ("shift", (0,), 5),
    "second decoder gain": ("decoder2_gains", (7,), 4096),
}


@pytest.mark.parametrize("name", [*SENSELESS, *SENSELESS_ENTRY])
def test_a_model_is_refused_for_its(model, name):
    change = SENSELESS.get(name) or changed(model, *SENSELESS_ENTRY[name])
    with pytest.raises(ModelError):
        replace(model, **change)


def test_a_sealed_file_with_a_senseless_value_is_refused(model):
    body = bytearray(model.data[:-4])
    body[12] = 0  # the first quantiser gain
    with pytest.raises(ModelError):
        parse_model(sealed(bytes(body)))


@pytest.mark.parametrize("how", ["over-subscribed", "incomplete", "too long"])
def test_a_file_is_refused_for_code_lengths_that_are(model, how):
    sizes = [symbols for contexts, symbols in reference.KINDS for _ in range(contexts)]
    for table_set, context in ((0, 0), (0, 10), (1, 28), (1, 30), (2, 38)):
        lengths = model.lengths.copy()
        row = lengths[table_set, sum(sizes[:context]) : sum(sizes[: context + 1])]
        used = np.flatnonzero(row)
        longest, shortest = used[row[used].argmax()], used[row[used].argmin()]
        at, value = {"over-subscribed": (longest, 1), "incomplete": (shortest, 0), "too long": (longest, 13)}[how]
        row[at] = value
        with pytest.raises(ModelError):
            parse_model(_with_lengths(model, lengths))
        with pytest.raises(ModelError):
            replace(model, lengths=lengths)


def _with_lengths(model: Model, lengths: np.ndarray) -> bytes:
    nibbles = lengths.reshape(-1, 2).tolist()
    return sealed(model.data[: -4 - LENGTHS_SIZE] + bytes(a << 4 | b for a, b in nibbles))


@pytest.mark.parametrize("unit, largest", [(0, MAX_FIRST), (3, MAX_REST)])
def test_a_model_whose_latents_have_no_code_word_is_refused(model, unit, largest):
    """With a step of one sixteenth a quantised latent runs past the last bucket, and past the tables behind it."""
    reach = 128 * np.abs(model.weights.astype(int)).sum(1) * model.multiplier >> model.shift
    gains = model.gains.copy()
    gains[unit] = 1
    assert reach[unit] // ((STEPS[0] + 32) >> 6) > largest
    with pytest.raises(ModelError):
        replace(model, gains=gains)


def test_the_shipped_model_has_a_code_word_for_every_picture(model):
    reach = 128 * np.abs(model.weights.astype(int)).sum(1) * model.multiplier >> model.shift
    foretold = np.abs(model.prediction.astype(int)).sum(1) * 2 * reach[0] >> 8
    steps = model.steps(0)
    assert reach[0] / steps[0] < MAX_FIRST
    assert ((reach[1:] + np.minimum(foretold, 32768)) / steps[1:]).max() < MAX_REST


def test_steps_grow_with_the_index_and_stay_in_their_bounds(model):
    steps = np.array([model.steps(i) for i in range(MAX_INDEX + 1)])
    assert steps.dtype == np.int32
    assert steps.min() > 0 and steps.max() < 1 << 13
    assert (np.diff(steps, axis=0) >= 0).all()
    for index in (0, 75, MAX_INDEX):
        assert steps[index].tolist() == [(reference.quantiser_step(index) * int(g) + 32) >> 6 for g in model.gains]


@pytest.mark.parametrize("offset", [-128, -9, 0, 9, 127])
def test_the_chroma_offset_stays_within_the_indices(model, offset):
    shifted = replace(model, chroma_offset=offset)
    for index in (0, 5, 100, 195, MAX_INDEX):
        assert shifted.plane_index(index, 0) == index
        for plane in (1, 2):
            assert shifted.plane_index(index, plane) == min(max(index + offset, 0), 200)


def test_table_sets_begin_at_their_limits(model):
    limited = replace(model, set_limits=(20, 170))
    assert [limited.table_set(i) for i in (0, 19, 20, 169, 170, 200)] == [0, 0, 1, 1, 2, 2]
    assert [replace(model, set_limits=(201, 201)).table_set(i) for i in (0, 200)] == [0, 0]


def test_tables_of_two_models_are_not_mixed_up(model):
    other = replace(model, lengths=model.lengths[::-1].copy())
    for table_set in range(SETS):
        assert np.array_equal(other.words(table_set), model.words(SETS - 1 - table_set))
        assert np.array_equal(other.lookup(table_set), model.lookup(SETS - 1 - table_set))
        assert model.words(table_set) is model.words(table_set)


def test_the_norm_is_the_inverse_of_the_first_unit_squared(model):
    square = sum(int(w) ** 2 for w in model.weights[0])
    assert abs(model.norm * square - 2**40) <= square / 2


def test_the_default_model_is_among_the_shipped_and_found_by_its_id(model):
    assert default_model() is model
    assert shipped_models()[model.model_id].data == model.data
    assert find_model(model.model_id).data == model.data


def test_an_unknown_model_is_refused_with_the_ids_at_hand(model):
    wanted = model.model_id ^ 1
    with pytest.raises(UnknownModelError, match=f"{model.model_id:04x}") as caught:
        find_model(wanted)
    assert caught.value.wanted == wanted and model.model_id in caught.value.known
    extra = replace(model, price=model.price ^ 1)
    assert find_model(extra.model_id, {extra.model_id: extra}) is extra


def test_a_model_is_loaded_from_a_file_and_errors_name_it(model, tmp_path):
    path = tmp_path / "field.obm"
    path.write_bytes(model.data)
    assert load_model(path).data == load_model(str(path)).data == model.data
    path.write_bytes(model.data[:-1])
    with pytest.raises(ModelError, match=r"field\.obm"):
        load_model(path)
