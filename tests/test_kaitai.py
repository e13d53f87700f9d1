"""The Kaitai Struct description reads packets as wire.py does. `make kaitai-tools` installs what that needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import onboard
from onboard.layer_header import FIRST_REFINEMENT, unpack_header
from onboard.scan import scan
from onboard.wire import CRC, PARITY, Kind
from tests.make_vectors import colour_scene, deep_scene, scene

STREAMS = {
    "grey": lambda: onboard.compress(scene(200, 317, 5), quality=55, packet_size=120, interleave=4),
    "colour": lambda: onboard.compress(colour_scene(75, 110, 11), quality=50),
    "wide": lambda: onboard.compress(scene(60, 9000, 2), quality=10, packet_size=90),
    "deep": lambda: onboard.compress(deep_scene(61, 77, 14), quality=60, curve="sqrt", no_data=True),
    "extensions": lambda: onboard.compress(scene(40, 56, 15), quality=40, source_id="OB1TST", metadata="nadir"),
    "parity": lambda: onboard.compress(
        deep_scene(90, 140, 3), quality=50, packet_size=100, parity=(50, 20), source_id="OB1TST"
    ),
    "layers": lambda: onboard.compress(colour_scene(60, 80, 4), bpp=2, packet_size=200),
    "region": lambda: refined(scene(64, 300, 6)),
    "lossless": lambda: onboard.compress(scene(40, 50, 7), lossless=True, packet_size=300),
}

HOLDS: dict[str, set[int | str]] = {
    "parity": {0, 1, "parity"},
    "layers": {0, 2},
    "region": {2, "region"},
    "lossless": {15},
}


def refined(picture: np.ndarray) -> bytes:
    base = onboard.compress(picture, quality=30, scale=2)
    return base + onboard.refine(picture, base, bpp=1, regions=[(260, 10, 30, 40)], packet_size=100)


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("ksy")
    source = Path(onboard.__file__).parent / "onboard_preview.ksy"
    find = ["node", "-e", 'require("kaitai-struct-compiler"); require("js-yaml")']
    root = Path(__file__).parents[1]
    if shutil.which("node") is None or subprocess.run(find, capture_output=True, check=False, cwd=root).returncode:
        lacking = "no node with kaitai-struct-compiler and js-yaml: run `make kaitai-tools`"
        if "CI" in os.environ:  # there it must run
            pytest.fail(lacking)
        pytest.skip(lacking)
    script = Path(__file__).with_name("compile_ksy.js")
    subprocess.run(["node", str(script), str(source), str(folder)], check=True)
    spec = importlib.util.spec_from_file_location("onboard_preview", folder / "onboard_preview.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", STREAMS)
def test_both_parsers_see_the_same_packets(name: str, parser: Any) -> None:
    data = STREAMS[name]()
    packets = scan(data)[0]
    found = parser.OnboardPreview.from_bytes(data).packets
    assert len(found) == len(packets)
    at = 0
    seen: set[int | str] = set()
    for ours, theirs in zip(packets, found, strict=True):
        d = ours.description
        at += theirs.length
        assert theirs.crc32 == CRC.unpack_from(data, at - CRC.size)[0]
        assert (theirs.picture_id, theirs.tag, theirs.model_id) == (d.picture_id, d.tag, d.model_id)
        assert (theirs.width, theirs.height) == (d.width, d.height)
        assert (theirs.scale_log2, theirs.interleave_log2) == (d.scale_log2, d.interleave_log2)
        assert (theirs.kind.value, theirs.colour.value, theirs.index) == (ours.kind, d.colour, ours.index)
        rest = theirs.rest
        if d.window:
            w = rest.window
            assert (w.depth_minus_1 + 1, w.curve.value, w.no_data, w.low, w.high) == (
                d.window.depth,
                d.window.curve,
                d.window.no_data,
                d.window.low,
                d.window.high,
            )
        if ours.extensions:
            assert [(e.type, e.data) for e in rest.extensions[:-1]] == [(e.type, e.data) for e in ours.extensions]
        if ours.kind == Kind.SOURCE:
            assert [(s.plane, s.layer, s.phase, s.first_block, s._raw_payload) for s in rest.sections] == [
                (s.plane, s.layer, s.phase, s.first, s.payload) for s in ours.sections
            ]
            seen.update(s.layer for s in ours.sections)
            for s in rest.sections:
                if s.layer < FIRST_REFINEMENT:
                    assert s.payload.symbols == s._raw_payload
                    continue
                header, symbols = unpack_header(s._raw_payload, s.layer, 8)
                assert (s.payload.reference, s.payload.table_set, s.payload.step) == (
                    header.reference,
                    header.table_set,
                    header.step,
                )
                assert s.payload.symbols == symbols
                assert s.payload.has_region == (header.span is not None)
                if s.payload.has_region:
                    assert (s.payload.left, s.payload.span_minus_1 + 1) == (header.left, header.span)
                    seen.add("region")
        else:
            seen.add("parity")
            p = rest.parity
            assert (p.group, p.index, p.source_count, p.parity_count) == PARITY.unpack_from(ours.body)
            assert p.parity_bytes == ours.body[PARITY.size :]
    assert at == len(data)
    assert seen >= HOLDS.get(name, {0, 1})
