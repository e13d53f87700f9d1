"""The C encoder makes the bytes of the single-pass mode, whatever the picture, the options and the order of calls."""

from __future__ import annotations

import ctypes
import os
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim import measure
from firmware_sim.build import (
    ENCODER,
    ROOMY,
    SOURCES,
    STRICT,
    Limits,
    host_compiler,
    host_library,
    run,
    tool,
    write_model,
)
from firmware_sim.encoder import Config, Encoder, Format, Status, config_of
from onboard.errors import InputError
from onboard.image_io import expand_rgb565
from onboard.model import default_model
from onboard.stream import stream
from onboard.stream_parity import Group
from onboard.wire import MAX_INDEX, Colour, Description
from tests import pictures

KINDS = {
    "flat": lambda h, w: np.full((h, w), 77, np.uint8),
    "gradient": pictures.gradient,
    "texture": pictures.texture,
    "noise": pictures.noise,
    "checkerboard": pictures.checkerboard,
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    try:
        host_compiler()
    except InputError as e:
        pytest.skip(str(e))
    checks = ("-O1", "-g", "-fsanitize=undefined,bounds", "-fno-sanitize-recover=all")
    return Encoder(host_library(tmp_path_factory.mktemp("obc"), options=checks))


def described(picture: np.ndarray, scale_log2: int = 0, interleave_log2: int = 0) -> Description:
    colour = Colour.YCBCR420 if picture.ndim == 3 else Colour.GREY
    height, width = picture.shape[:2]
    return Description(0xA1B2, 0x0C3D, default_model().model_id, width, height, scale_log2, interleave_log2, colour)


def pairs(groups: tuple[Group, Group]) -> list[tuple[int, int]]:
    return [(group.source, group.parity) for group in groups]


def picture_of(kind: str, height: int, width: int, colour: bool) -> np.ndarray:
    grey = KINDS[kind](height, width)
    if not colour:
        return grey
    return np.ascontiguousarray(np.stack([grey, pictures.texture(height, width, 6), grey[::-1]], -1))


GROUPS = st.just(Group()) | st.builds(Group, st.integers(1, 9), st.integers(0, 4))
OPTIONS = {
    "kind": st.sampled_from(sorted(KINDS)),
    "height": st.integers(1, 90),
    "width": st.integers(1, 90) | st.integers(250, 620),
    "colour": st.booleans(),
    "scale_log2": st.integers(0, 2),
    "interleave_log2": st.integers(0, 2),
    "packet_size": st.integers(55, 256) | st.integers(257, 65535),
    "index": st.integers(0, MAX_INDEX),
    "quota": st.none() | st.integers(48, 3000),
    "groups": st.tuples(GROUPS, GROUPS),
}
CASES = int(os.environ.get("FIRMWARE_CASES", "80"))  # of each property; 10000 for a thorough run


@given(idle=st.integers(1, 4), **OPTIONS)
@settings(max_examples=CASES)
def test_the_packets_are_those_of_the_reference(
    encoder, idle, kind, height, width, colour, scale_log2, interleave_log2, packet_size, index, quota, groups
):
    picture = picture_of(kind, height, width, colour)
    d = described(picture, scale_log2, interleave_log2)
    config = config_of(d, packet_size, index, quota, pairs(groups))
    wanted = list(stream(picture, d, default_model(), packet_size=packet_size, index=index, quota=quota, groups=groups))
    calls = count()
    assert encoder.packets(picture, config, lambda: next(calls) % idle > 0) == wanted


@pytest.mark.parametrize("fixture", ["photograph", "colour_photograph"])
@pytest.mark.parametrize("quota", [None, 600])
def test_so_are_those_of_a_photograph(encoder, fixture, quota, request):
    picture = request.getfixturevalue(fixture)
    d = described(picture)
    wanted = list(stream(picture, d, default_model(), packet_size=200, index=90, quota=quota))
    assert encoder.packets(picture, config_of(d, 200, 90, quota)) == wanted


def test_a_picture_in_one_call_gives_the_same_packets(encoder):
    picture = picture_of("texture", 61, 300, True)
    config = config_of(described(picture), 200, 60)
    wanted = b"".join(encoder.packets(picture, config))
    assert bytes(encoder.stream(picture, config, np.empty(len(wanted), np.uint8))) == wanted
    with pytest.raises(RuntimeError, match="no room"):
        encoder.stream(picture, config, np.empty(len(wanted) - 1, np.uint8))


@pytest.mark.parametrize(("flat", "quota", "packet_size", "k"), [(7, 535, 83, (3, 3)), (4, 575, 98, (2, 1))])
def test_a_packet_that_waits_for_parity_takes_no_more_symbols(encoder, photograph, flat, quota, packet_size, k):
    picture = np.tile(photograph, (1, 2))
    picture[:flat] = 128
    d, groups = described(picture), (Group(k[0], 1), Group(k[1], 1))
    wanted = list(stream(picture, d, default_model(), packet_size=packet_size, quota=quota, groups=groups))
    assert encoder.packets(picture, config_of(d, packet_size, 0, quota, pairs(groups))) == wanted


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2), st.booleans(), st.integers(0, 1 << 32))
@settings(max_examples=40)
def test_rgb565_rows_are_expanded_first(encoder, height, width, scale_log2, big, seed):
    words = np.random.default_rng(seed).integers(0, 1 << 16, (height, width)).astype(np.uint16)
    picture = expand_rgb565(words)
    d = described(picture, scale_log2)
    config = config_of(d, 200, 60)
    config.format = Format.RGB565BE if big else Format.RGB565LE
    rows = words.astype(">u2" if big else "<u2").view(np.uint8)
    assert encoder.packets(rows, config) == list(stream(picture, d, default_model(), packet_size=200, index=60))


@given(calls=st.lists(st.sampled_from(["reset", "sink", "short", "poll", "finish"]), max_size=60), **OPTIONS)
@settings(max_examples=CASES)
def test_calls_in_any_order_do_no_harm(
    encoder, calls, kind, height, width, colour, scale_log2, interleave_log2, packet_size, index, quota, groups
):
    picture = picture_of(kind, height, width, colour)
    config = config_of(described(picture, scale_log2, interleave_log2), packet_size, index, quota, pairs(groups))
    assert encoder.reset(config) == Status.OK
    top, busy = 0, False
    for call in calls:
        if call == "reset":
            assert encoder.reset(config) == Status.OK
            top, busy = 0, False
        elif call == "short":
            assert encoder.sink(picture[:0]) in (Status.ERROR_ROWS, Status.ERROR_STATE)
        elif call == "finish":
            assert encoder.finish() == Status.OK
        elif call == "poll":
            status, packet = encoder.poll()
            assert status in (Status.PACKET, Status.EMPTY, Status.DONE)
            assert (status == Status.PACKET) == bool(packet)
            busy = busy and status == Status.PACKET
        elif top < height:
            status = encoder.sink(picture[top : top + 8])
            assert status in (Status.OK, Status.BUSY, Status.ERROR_STATE)
            if status == Status.BUSY:
                assert busy
            if status == Status.OK:
                top, busy = top + 8, True
    assert encoder.finish() == Status.OK
    for _ in range(20 * picture.size):
        if encoder.poll()[0] == Status.DONE:
            break
    else:
        pytest.fail("polling makes no progress")


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"height": 0},
        {"packet_size": 47},
        {"quota": 47},
        {"index": MAX_INDEX + 1},
        {"scale_log2": 3},
        {"interleave_log2": 3},
        {"format": 4},
        {"parity": (17, 0)},
        {"parity": (1, 0), "group": (0, 0)},
        {"parity": (0, 1), "group": (0, 255)},
        {"width": 2049},
    ],
)
def test_a_configuration_out_of_range_is_refused(encoder, wrong):
    config = Config(width=100, height=50, packet_size=200)
    assert encoder.reset(config) == Status.OK
    for name, value in wrong.items():
        setattr(config, name, value)
    assert encoder.reset(config) == Status.ERROR_CONFIG
    assert encoder.poll()[0] == Status.ERROR_STATE


def test_an_encoder_begins_again_with_its_own_configuration(encoder):
    config = Config(width=100, height=50, packet_size=200)
    assert encoder.reset(config) == Status.OK
    inside = type(config).from_buffer(encoder._memory)  # it is the first that an encoder holds
    assert encoder.reset(inside) == Status.OK
    assert bytes(inside) == bytes(config)


def test_a_caller_built_with_other_settings_is_refused_and_nothing_written(encoder):
    memory, config = bytearray(b"\xa5" * encoder.size), Config(width=100, height=50, packet_size=200)
    place = (ctypes.c_char * encoder.size).from_buffer(memory)
    for size in (0, encoder.size - 4, encoder.size + 4):
        assert encoder._c.obc_reset_sized(place, size, ctypes.byref(config)) == Status.ERROR_CONFIG
    assert memory == b"\xa5" * encoder.size
    assert encoder._c.obc_reset_sized(place, encoder.size, ctypes.byref(config)) == Status.OK


@pytest.mark.timeout(120)
@pytest.mark.parametrize("width", [65280, 65281, 65535])
def test_the_widest_picture_has_256_stripes(encoder, width, tmp_path: Path):
    wide = Encoder(host_library(tmp_path, Limits(65535), ("-O1",)))
    picture = pictures.texture(9, width)
    d = described(picture)
    config = config_of(d, 256, 150)
    assert wide.packets(picture, config) == list(stream(picture, d, default_model(), packet_size=256, index=150))


def test_a_cxx_program_can_call_the_encoder(encoder, tmp_path: Path):
    try:
        compiler = tool("g++")
    except InputError as e:
        pytest.skip(str(e))
    host_library(tmp_path)
    caller = tmp_path / "caller.cpp"
    caller.write_text(
        '#include "obc.h"\nstatic obc_encoder encoder;\n'
        "int main() { obc_config config = {}; return obc_reset(&encoder, &config) == OBC_ERROR_CONFIG ? 0 : 1; }\n"
    )
    out = tmp_path / "caller"
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", *ROOMY.defines(), f"-Wl,-rpath,{tmp_path}"]
    run([compiler, *flags, "-o", str(out), str(caller), str(tmp_path / "libobc.so")])
    run([str(out)])


@pytest.mark.parametrize("limits", [Limits(65535, 48, True, 2, 2, 17), Limits(0)])
def test_limits_that_cannot_be_are_refused_by_the_compiler(encoder, limits, tmp_path: Path):
    with pytest.raises(InputError, match=r"OBC_MAX_(PARITY is not 0 to 16|PACKET or OBC_MAX_WIDTH is out of range)"):
        host_library(tmp_path, limits)


@pytest.mark.parametrize(
    "limits",
    [Limits(), Limits(colour=True), Limits(scale_log2=1), Limits(641, 48, True, 1, 1), Limits(1, 200, False, 2, 2, 1)],
)
def test_every_choice_of_limits_builds_without_a_warning(encoder, limits, tmp_path: Path):
    write_model(tmp_path)
    for name in ENCODER:
        flags = [*STRICT, "-O3", *limits.defines(), f"-I{tmp_path}"]
        run([host_compiler(), *flags, "-c", "-o", str(tmp_path / "out.o"), str(SOURCES / name)])


@pytest.mark.parametrize("limits", [Limits(), ROOMY])
@pytest.mark.parametrize("dsp", [0, 1])
def test_the_static_checker_finds_nothing(limits, dsp, tmp_path: Path):
    try:
        checker = tool("cppcheck")
    except InputError as e:
        pytest.skip(str(e))
    write_model(tmp_path)
    what = ["--std=c99", "--enable=warning,performance,portability", "--inconclusive", "-q", "--error-exitcode=1"]
    what += ["--suppress=comparePointers:*/board/main.c"]  # of symbols that the linker puts in one piece of memory
    what += [*limits.defines(), f"-DOBC_DSP={dsp}", f"-I{tmp_path}", f"-I{SOURCES}"]
    files = sorted(str(path) for path in SOURCES.rglob("*.c"))
    assert len(files) > len(ENCODER)
    run([checker, *what, *files])


@pytest.mark.parametrize("core", measure.CORES, ids=lambda core: core.cpu)
@pytest.mark.parametrize("colour", [False, True])
def test_an_emulated_microcontroller_makes_the_same_packets(core, colour, tmp_path: Path):
    try:
        tool(core.family.prefix + "gcc"), tool(core.family.emulator)
    except InputError as e:
        pytest.skip(str(e))
    picture = picture_of("texture", 75, 323, colour)
    case = measure.Case("test", Limits(400, 200, colour, parity=2 * colour), protected=colour)
    found = measure.measure(core, case, picture, measure.reference(case, picture), tmp_path)  # compares the packets
    assert found["stack"] < 2048
    assert found["flash"] < 32 * 1024


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InputError, match="make firmware-tools"):
        tool("arm-none-eabi-gcc")
    with pytest.raises(InputError, match="no C compiler"):
        host_compiler()


def test_the_header_is_made_from_the_model(tmp_path: Path):
    write_model(tmp_path)
    text = (tmp_path / "obc_model.h").read_text()
    model = default_model()
    assert f"#define OBC_MODEL_ID {model.model_id}\n" in text
    words = text.split("obc_words[OBC_SETS][OBC_SET_SYMBOLS] = ")[1].split(";")[0]
    found = [int(word) for word in words.replace("{", " ").replace("}", " ").replace(",", " ").split()]
    assert found == [int(w) for s in range(3) for w in model.words(s)]
