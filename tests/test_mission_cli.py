"""Mission files, and `firmware-sim run`: reports, messages, exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from firmware_sim import chart
from firmware_sim.cli import main
from firmware_sim.mission import parse_mission, read_mission
from onboard.errors import InputError
from tests.make_vectors import scene
from tests.test_cli import one_line

GOOD = """
[camera]
made_up = 2
[radio]
profile = "uhf"
[[device]]
profile = "stm32f407"
[[pass]]
gap = 100
seconds = 60
repeat = 2
"""


def test_a_mission_file_says_when_passes_are() -> None:
    mission = parse_mission(GOOD, "m.toml", Path())
    assert [c.start for c in mission.contacts] == [100, 260]
    assert mission.contacts[0].bitrate == mission.radio.bitrate == 9600
    assert mission.contacts[0].link.overhead == mission.radio.overhead


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("made_up = 2", "made_up = 0", r"m\.toml: \[camera\]: made_up is 0: must be a number from 1 to 1000"),
        ("made_up = 2", "", r"m\.toml: \[camera\]: give either images, .* or made_up"),
        ('"uhf"', '"cb"', r"radio 'cb' is not in devices\.toml: known are uhf"),
        ("seconds = 60", "secs = 60", r"m\.toml: \[\[pass\]\] 1: seconds is missing: must be a number"),
        ("seconds = 60", "seconds = 60\nlos = 1", r"\[\[pass\]\] 1: los means nothing here; did you mean loss\?"),
        ("seconds = 60", "seconds = 60\nburst = 2\nloss = 0.9", r"\[\[pass\]\] 1: a loss of 0\.9 needs bursts longer"),
        ("[[pass]]", "[[contact]]", r"m\.toml: pass is missing: must be tables, each begun with \[\[pass\]\]"),
        (
            "[[device]]",
            "[[device]]\nparity = [1700, 10]",
            r"m\.toml: stm32f407: parity 1700.*: must be 0, or 1 to 1600",
        ),
        ("[[device]]", "[[device]]\nexpect_loss = 0.1", r"m\.toml: stm32f407: expect_loss is for computers"),
        ("[[device]]", "[[device]]\nscale = 8", r"microcontrollers code at scale 1, 2 or 4"),
        ("[[device]]", "[[device]]\nbpp = 1\nbudget = 9", r"\[\[device\]\] 1: give budget or bpp, not both"),
        (
            "[[device]]",
            '[[device]]\nname = "../x"',
            r"\[\[device\]\] 1: name is '\.\./x': must be the name of a folder",
        ),
        ("[radio]", "[radio", r"m\.toml: not TOML: "),
        ("repeat = 2", "[[pass]]\nstart = 5\nseconds = 1", r"m\.toml: the pass at 5 s begins before the one at 100 s"),
    ],
)
def test_a_bad_mission_file_is_named_with_its_key(old: str, new: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as e:
        parse_mission(GOOD.replace(old, new, 1), "m.toml", Path())
    assert "\n" not in str(e.value)


def test_the_example_that_comes_along_is_a_mission() -> None:
    mission = read_mission("cubesat")
    assert len(mission.contacts) == 3
    assert len(mission.setups) == 2


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(scene(64, 96, i)).save(folder / f"b{i}.png")
    return folder


def options(photos: Path, report: Path) -> list[str]:
    return ["run", "--device", "pi-4", "--image", str(photos), "--pass", "60", "--budget", "400", "-o", str(report)]


def test_a_run_writes_a_report_and_a_second_one_takes_its_place(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    assert main([*options(photos, report), "--json", "--loss", "0.4", "--seed", "1"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures[0]["encoded"] == 2
    names = {str(p.relative_to(report)) for p in report.rglob("*") if p.is_file()}
    assert {"summary.json", "summary.txt", "timeline.json", "received/0001-b0.obp", "received/0002-b1.png"} <= names
    assert ("chart.png" in names) == chart.available()
    assert json.loads((report / "timeline.json").read_text())[0]["event"] == "frame"
    (report / "received" / "old.png").write_bytes(b"")
    assert main([*options(photos, report), "-q"]) == 0
    assert not (report / "received" / "old.png").exists()
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_without_matplotlib_one_line_says_what_is_off(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "available", lambda: False)
    assert main(options(photos, tmp_path / "report")) == 0
    said = capsys.readouterr().err
    assert "firmware-sim: no chart: matplotlib is not installed; pip install" in said
    assert "2 frames, 2 encoded" in said
    assert not (tmp_path / "report" / "chart.png").exists()


def test_a_folder_with_something_else_in_it_stays_as_it_is(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(photos, photos)) == 2
    assert "holds something that is no report" in one_line(capsys)
    assert sorted(p.name for p in photos.iterdir()) == ["b0.png", "b1.png"]


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (["--device", "vax"], "device 'vax' is not in devices.toml"),
        (["--loss", "2"], "each must be 0 to 1"),
        (["--packet", "12"], "--packet 12: must be 48 to 65535"),
        (["--packet", "300"], "packets of 300 bytes: this radio carries 48 to 256"),
        (["--pass", "0"], "--pass 0: must be 0.001 to"),
        (["--device", "pi-4"], "several devices have one name"),
        (["--bitrate", "0"], "--bitrate 0: must be 1 to"),
        (["--image", "/nowhere/at/all"], "/nowhere/at/all: no such file or folder"),
        (["cubesat"], "--device is for missions without a file: cubesat says it itself"),
        (["nothing.toml"], "nothing.toml"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    extra: list[str], says: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = options(photos, tmp_path / "report")
    assert main([argv[0], *extra[:1], *argv[1:]] if not extra[0].startswith("-") else [*argv, *extra]) == 2
    assert says in one_line(capsys)
    assert not (tmp_path / "report").exists()


def test_a_run_in_which_no_frame_fits_says_why(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options(photos, tmp_path / "report"), "--interval", "0.00001"]) == 2
    assert "must be 0.001 to" in one_line(capsys)
    file = tmp_path / "m.toml"
    file.write_text(GOOD.replace("stm32f407", "pi-4").replace("[[device]]", '[[device]]\nram = "1MB"'))
    assert main(["run", str(file), "-o", str(tmp_path / "report")]) == 2
    assert "no frame fits: made-up: 640x480 grey needs" in one_line(capsys)
    assert not (tmp_path / "report").exists()
