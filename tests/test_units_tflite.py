"""G1 and G2 as LiteRT files: the model's own int8 weights, and latents that are the kernel's to rounding."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from onboard.encoder import Effort, analyse_picture
from onboard.model import Model
from onboard.wire import Colour, Description
from training.cli import main

interpreter = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install '.[ground]'"
)


def runner(model: Model, group: int) -> interpreter.Interpreter:
    path = files("onboard") / "models" / f"{model.model_id:04x}-g{group}.tflite"
    made = interpreter.Interpreter(model_content=path.read_bytes())
    made.allocate_tensors()
    return made


@pytest.mark.parametrize("group", [1, 2])
def test_the_weights_are_the_models_own(model: Model, group: int) -> None:
    made = runner(model, group)
    weights = [made.get_tensor(t["index"]) for t in made.get_tensor_details() if t["dtype"] == np.int8]
    assert len(weights) == 1
    assert (weights[0] == model.weights[: len(weights[0])]).all()
    assert len(weights[0]) == (1 if group == 1 else 8)


@pytest.mark.parametrize("group", [1, 2])
def test_latents_agree_with_the_kernel_to_a_sixteenth(model: Model, group: int, photograph: np.ndarray) -> None:
    made = runner(model, group)
    (given,), (out,) = made.get_input_details(), made.get_output_details()
    rows, columns = (n // 8 for n in photograph.shape)
    blocks = photograph.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 64) - 128.0
    fed = np.zeros(given["shape"], np.int16)
    fed[: len(blocks)] = np.rint(blocks / given["quantization"][0])
    made.set_tensor(given["index"], fed)
    made.invoke()
    got = made.get_tensor(out["index"])[: len(blocks)] * out["quantization"][0]
    description = Description(0, 0, 0, photograph.shape[1], photograph.shape[0], 0, 0, Colour.GREY)
    (plane,) = analyse_picture(photograph, description, model, 0, Effort(0, 0)).planes
    known = plane.residual > 0  # latents 2 to 8 are computed where there is something left
    units = got.shape[1]
    assert known.mean() > 0.9
    assert np.abs(got[known] - plane.latents[known, :units] / 16).max() <= 1 / 16 + 0.04


def test_an_export_tells_its_files_as_json_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], model: Model
) -> None:
    pytest.importorskip("litert_torch", reason="litert-torch is not installed: pip install '.[train]'")
    assert main(["export-tflite", "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [each["output"] for each in told] == [str(tmp_path / f"{model.model_id:04x}-g{g}.tflite") for g in (1, 2)]
    assert all(Path(each["output"]).stat().st_size == each["bytes"] for each in told)
