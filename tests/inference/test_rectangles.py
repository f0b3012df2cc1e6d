"""A run on clips that are no squares, from its yaml through training, testing, files and exports."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.toy_runs import records, results, toy_config, write_config
from tests.weight_files import trunk
from videoadapt.cli import export, train
from videoadapt.config.loading import check_config, dump_config, load_config
from videoadapt.errors import ConfigError
from videoadapt.inference.adapter_bank import AdapterBank, asking_tasks
from videoadapt.inference.predictor import Predictor
from videoadapt.inference.videos import as_video
from videoadapt.runs.build import build_seeded_model
from videoadapt.runs.inputs import find_problems

SIDES = [32, 64]
NAMES = [f"c{label}" for label in range(8)]


def config_of(folder: Path, clips: Path, **data: object) -> Path:
    model = {"weights": str(trunk(folder / "trunk.safetensors"))}
    config = toy_config(
        folder / "run",
        clips,
        model=model,
        data={"crop_px": SIDES, "augment": {"cutmix": 1.0, "erasing": 1.0}, **data},
        train={"epochs": 1},
        optim={"warmup_epochs": 0},
    )
    return write_config(folder / "c.yaml", config)


@pytest.mark.slow
def test_one_answer_by_every_door(tmp_path: Path, clips: Path) -> None:
    assert train.main(["--cfg", str(config_of(tmp_path, clips))]) == 0
    folder, weights = tmp_path / "run", tmp_path / "trunk.safetensors"
    assert results(folder)["num_views"] == 6 and results(folder)["statement"]["config"]["data"]["crop_px"] == SIDES
    by_run = Predictor.from_run(folder, "cpu")
    by_file = Predictor.from_adapter(folder / "adapter.safetensors", weights, "cpu")
    video = min(clips.glob("test/*/*.mp4"))
    assert torch.equal(by_run.logits(video), by_file.logits(video))
    bank = AdapterBank.from_files([folder / "adapter.safetensors"], weights)
    ((of_bank,),) = (said.answers for said in asking_tasks(bank, torch.device("cpu")).each([video], 5))
    assert [p.name for p in of_bank] == [p.name for p in by_run.predict(video)]
    assert export.main([str(tmp_path / "m.onnx"), "--run", str(folder)]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [3, 4, *SIDES]
    views_NJCTHW, _ = by_run._read(as_video(video))
    found = session.run(None, {"clips": views_NJCTHW.flatten(0, 1).numpy()})[0]
    np.testing.assert_allclose(found.mean(0), by_run.logits(video), atol=1e-4)


@pytest.mark.slow
def test_a_run_on_squares_begins_one_on_rectangles(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "square").mkdir()
    assert train.main(["--cfg", str(config_of(tmp_path / "square", clips, crop_px=32))]) == 0
    config = load_config(
        config_of(tmp_path, clips), [f"model.weights={tmp_path / 'square' / 'run'}", "train.enable=false"]
    )
    build_seeded_model(config, NAMES)
    assert (
        "clips of 4 frames of 32 px there, 4 frames of 32 x 64 px here: the sinusoid positions"
        in capsys.readouterr().err
    )


def test_a_square_as_two_sides_is_the_square(tmp_path: Path, clips: Path) -> None:
    raw = toy_config(tmp_path, clips, data={"crop_px": [32, 32]})
    assert check_config(raw) == check_config(toy_config(tmp_path, clips))
    config = check_config(toy_config(tmp_path, clips, data={"crop_px": SIDES}))
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert config.data.crop_px == (32, 64) and load_config(tmp_path / "again.yaml") == config
    assert load_config(tmp_path / "again.yaml", ["data.crop_px=[16, 16]"]).data.crop_px == 16


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"data": {"crop_px": [32]}}, "data.crop_px"),
        ({"data": {"crop_px": [32, 0]}}, "data.crop_px.1 = 0: input should be greater than or equal to 1"),
        ({"data": {"crop_px": [32, 40]}}, r"data.crop_px = \[32, 40\]: width needs to be a multiple of .*patch_px = 16"),
        ({"data": {"crop_px": [40, 24]}}, r"data.crop_px = \[40, 24\]: height and width need to be a multiple"),
        (
            {"data": {"crop_px": [32, 64], "num_frames": 4},
             "model": {"backbone": {"name": "pytorchvideo", "model": "x3d_xs", "crop_px": [32, 64]}}},
            r"model.backbone.crop_px = \[32, 64\]: x3d_xs takes squares only; set one number",
        ),
        (
            {"data": {"crop_px": [32, 64]}, "model": {"backbone": {"name": "timm", "model": "test_vit"}}},
            r"data.crop_px = \[32, 64\]: test_vit takes \[160, 160\] only; set that, or the backbone's crop_px",
        ),
        (
            {"model": {"backbone": {"name": "timm", "model": "test_resnet", "crop_px": [32, 64]}}},
            r"model.backbone.crop_px = \[32, 64\]: test_resnet takes images of any size; leave it out",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(
    changes: dict[str, dict[str, object]], line: str, tmp_path: Path, clips: Path
) -> None:
    def problems() -> None:
        config = check_config(toy_config(tmp_path, clips, **changes))
        raise ConfigError(find_problems(config)[1])

    with pytest.raises(ConfigError, match=line) as caught:
        problems()
    assert len([problem for problem in caught.value.problems if "crop_px" in problem]) == 1, caught.value.problems


def test_masked_pretraining(tmp_path: Path, clips: Path) -> None:
    config = toy_config(
        tmp_path / "run",
        clips,
        model={"adapter": {"name": "full"}},
        data={"crop_px": SIDES, "rendered": {"motions": "any", "clips_per_epoch": 8}, "train": None, "test": None},
        train={"epochs": 1},
        test={"enable": False},
    )
    config["task"] = "pretrain"
    config["pretrain"] = {"mask_ratio": 0.5, "decoder_width": 16, "decoder_heads": 2, "decoder_depth": 1}
    assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    assert all(0.5 < record["loss"] < 5 for record in records(tmp_path / "run"))
    assert (tmp_path / "run" / "reconstruction.png").is_file()
