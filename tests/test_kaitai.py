"""The Kaitai Struct description reads packets as wire.py does. Needs node with kaitai-struct-compiler and js-yaml."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import onboard
from onboard.wire import CRC, PARITY, Kind, scan
from tests.make_vectors import colour_scene, deep_scene, scene

STREAMS = {
    "grey": lambda: onboard.compress(scene(200, 317, 5), quality=55, packet_size=120, interleave=4),
    "colour": lambda: onboard.compress(colour_scene(75, 110, 11), quality=50),
    "wide": lambda: onboard.compress(scene(500, 900, 2), quality=40, packet_size=90, scale=1),
    "deep": lambda: onboard.compress(deep_scene(61, 77, 14), quality=60, curve="sqrt", no_data=True),
    "extensions": lambda: onboard.compress(scene(40, 56, 15), quality=40, source_id="OB1TST", metadata="nadir"),
    "parity": lambda: onboard.compress(
        deep_scene(90, 140, 3), quality=50, packet_size=100, parity=(50, 20), source_id="OB1TST"
    ),
}


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    pytest.importorskip("kaitaistruct")
    folder = tmp_path_factory.mktemp("ksy")
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    source = Path(onboard.__file__).parent / "onboard_preview.ksy"
    find = ["node", "-e", 'require("kaitai-struct-compiler"); require("js-yaml")']
    if subprocess.run(find, capture_output=True, check=False).returncode:
        pytest.skip("kaitai-struct-compiler or js-yaml is not installed")
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
            assert [
                (s.plane, s.layer, s.phase, s.first_block, s.payload_with_length if s.has_length else s.payload_to_end)
                for s in rest.sections
            ] == [(s.plane, s.layer, s.phase, s.first, s.payload) for s in ours.sections]
        else:
            p = rest.parity
            assert (p.group, p.index, p.source_count, p.parity_count) == PARITY.unpack_from(ours.body)
            assert p.parity_bytes == ours.body[PARITY.size :]
    assert at == len(data)
