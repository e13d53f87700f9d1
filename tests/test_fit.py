"""Training a model: the same pictures give the same bytes, and pictures that do not allow a model are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onboard
from onboard.model import default_model, parse_model
from onboard.reference import foretold_plane, whole
from onboard.tables import parse_tables
from onboard.wire import Colour
from tests.pictures import texture
from training.cli import main
from training.pictures import describe, find
from training.units import balance_rows


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def test_the_same_few_pictures_give_the_same_model_and_a_report_without_nan(folder, tmp_path, capsys):
    for i in range(2):
        Image.fromarray(texture(96, 128, i)).save(folder / f"{i}.png")
    for name in ("a.obm", "b.obm"):
        assert main(["fit", "--images", str(folder), "--out", str(tmp_path / name)]) == 0
    data = (tmp_path / "a.obm").read_bytes()
    assert data == (tmp_path / "b.obm").read_bytes()
    report = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert report["model_id"] == f"{parse_model(data).model_id:04x}"
    assert report["pictures"] == {"train": 2, "validation": 0} and report["mse"]["validation"] == {}
    assert "fewer than 10 pictures" in capsys.readouterr().err


def test_a_picture_counts_once_however_its_folder_is_spelled(folder, monkeypatch):
    (folder / "inner").mkdir()
    for name in ("b.png", "inner/a.png", "c.png"):
        Image.fromarray(texture(16, 24, 1)).save(folder / name)
    once = [p.resolve() for p in find([folder])]
    assert len(once) == 3
    monkeypatch.chdir(folder)
    for folders in ([Path(), folder], [folder / "inner", folder], [Path("inner"), Path("../pictures")]):
        assert [p.resolve() for p in find(folders)] == once


def test_a_model_is_not_overwritten_by_its_header(tmp_path, capsys):
    path = tmp_path / "my.obm"
    path.write_bytes((Path(onboard.__file__).parent / "models" / f"{default_model().model_id:04x}.obm").read_bytes())
    assert main(["export-c", str(path), "-o", str(path)]) == 2
    assert "is what would be read" in capsys.readouterr().err
    assert parse_model(path.read_bytes()).model_id == default_model().model_id


def test_a_model_has_several_files_and_goes_to_no_pipe(folder, capsys):
    Image.fromarray(texture(96, 128, 1)).save(folder / "1.png")
    assert main(["fit", "--images", str(folder), "--out", "-"]) == 2
    assert "give the name of a file" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(8))
def test_balanced_rows_sum_to_zero_and_stay_near_what_they_are_made_of(seed):
    rows = np.random.default_rng(seed).normal(0.3, 1, (7, 64))
    made = balance_rows(rows).astype(int)
    assert not made.sum(1).any()
    level = rows - rows.mean(1, keepdims=True)
    assert np.abs(made - 127 * level / np.abs(level).max(1, keepdims=True)).max() < 1
    assert (np.abs(made).max(1) == 127).all()


@pytest.mark.parametrize("level", range(0, 256, 15))
def test_a_flat_picture_is_flat_again_at_every_level(level):
    picture = np.full((40, 56), level, np.uint8)
    coarse, fine = (
        onboard.decompress(onboard.compress(picture, quality=quality), enhance="plain").image for quality in (0, 100)
    )
    assert np.ptp(coarse) == 0
    assert (fine == level).all()
    model, description = default_model(), describe(picture, Colour.GREY)
    assert not model.weights[1:].sum(1, dtype=int).any()
    first = np.full(35, 128 * (level - 128), np.int16)
    assert (foretold_plane(description, model, 0, first, 7, whole(description, 0)) == level).all()


def test_tables_of_the_layers_are_made_of_pictures(folder, tmp_path):
    for i in range(2):
        Image.fromarray(texture(96, 128, i)).save(folder / f"{i}.png")
    assert main(["layers", "--images", str(folder), "--out", str(tmp_path / "own.obt"), "-q"]) == 0
    parse_tables((tmp_path / "own.obt").read_bytes())


def test_pictures_without_a_level_are_refused_in_words(folder, tmp_path, capsys):
    rng, y = np.random.default_rng(1), np.arange(96)[:, None]
    for i in range(3):
        phase = np.kron(rng.uniform(0, 2 * np.pi, (12, 16)), np.ones((8, 8)))
        waves = 128 + 90 * np.sin(2 * np.pi * y / 8 + phase) + rng.normal(0, 3, phase.shape)
        Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    assert main(["fit", "--images", str(folder), "--out", str(tmp_path / "a.obm")]) == 2
    assert "the first unit says next to nothing of a flat block" in capsys.readouterr().err


def test_flat_pictures_are_refused_in_one_line(folder, tmp_path, capsys):
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(folder / "flat.png")
    assert main(["fit", "--images", str(folder), "--out", str(tmp_path / "a.obm")]) == 2
    said = capsys.readouterr().err
    assert "too little in these pictures" in said and said.count("\n") == 1
    assert not (tmp_path / "a.obm").exists()


def test_a_picture_that_cannot_be_read_is_named_and_left_out(folder, tmp_path, capsys):
    for i in range(2):
        Image.fromarray(texture(96, 128, i)).save(folder / f"{i}.png")
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no picture")
    assert main(["fit", "--images", str(folder), "--out", str(tmp_path / "a.obm")]) == 0
    said = capsys.readouterr().err
    assert [f"{folder / name}: " in said for name in ("cut.png", "text.jpg", "0.png")] == [True, True, False]
    assert said.count("; left out") == 2 and "from 2 pictures" in said


def test_pictures_of_which_none_can_be_read_are_refused(folder, tmp_path, capsys):
    (folder / "text.jpg").write_text("no picture")
    for command in ("fit", "neighbours"):
        assert main([command, "--images", str(folder), "--out", str(tmp_path / "a.out")]) == 2
        assert "none of 1 pictures can be read" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["my.json", "my.png", "gone/my.obm", "pictures/0.obm", "locked.obm"])
def test_what_a_fit_would_write_over_or_cannot_write_is_said_before_all_work(
    name, folder, tmp_path, monkeypatch, capsys
):
    Image.fromarray(texture(96, 128)).save(folder / "0.png")
    before = (folder / "0.png").read_bytes()
    monkeypatch.setattr("training.fit.fit", pytest.fail)
    if name == "locked.obm":
        monkeypatch.setattr("os.access", lambda *_: False)
    assert main(["fit", "--images", str(folder), "--out", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "0.png").read_bytes() == before
