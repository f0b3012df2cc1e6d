"""Run folder, adapter file and export give one answer, whatever the config sets: over configs that together set every key."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy_runs import toy_config, write_config
from tests.weight_files import trunk
from videoadapt.cli import train
from videoadapt.config.keys import keys_that_alter
from videoadapt.config.loading import load_config
from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config
from videoadapt.export.programs import TOLERANCE, export_torch
from videoadapt.inference.adapter_bank import AdapterBank, asking_tasks
from videoadapt.inference.predictor import Predictor
from videoadapt.registry import DATASETS
from videoadapt.runs.build import open_run
from videoadapt.runs.statement import value_of

CHANGES: list[dict[str, Any]] = [
    {
        "data": {
            "decoder": {"name": "pyav", "threads": 2},
            "short_side_px": 40,
            "jpeg_quality": 90,
            "sampling": {"name": "segment"},
        },
        "train": {"precision": "bf16", "epochs": 1},
        "test": {"clips": 1, "crops": 3, "average": "probs", "batch_size": 2},
    },
    {
        "model": {"adapter": [{"name": "adaptformer", "scale": 0.7}, {"name": "lora", "rank": 2}], "inflate": "centre"},
        "data": {"num_frames": 6, "crop_px": 48, "sampling": {"name": "dense", "stride_frames": 1, "fps_hz": 9}},
        "train": {"epochs": 1, "ema": 0.5},
        "test": {"clips": 3, "crops": 1, "batch_size": 1},
    },
    {
        "data": {"crop_px": [32, 64], "resize": "letterbox", "bar_level": 90, "augment": {"crop": "random"}},
        "train": {"epochs": 1},
        "test": {"clips": 2, "crops": 1},
    },
    {
        "model": {"adapter": {"name": "vpt", "num_tokens": 2}, "head": {"batch_norm": False, "dropout": 0.5}},
        "data": {"resize": "bicubic", "resize_px": 40},
        "train": {"epochs": 1},
        "test": {"crops": 1},
        "seed": 5,
    },
    {
        "data": {"labels": "multi", "dataset": {"name": "video_list"}, "classes": 8},
        "train": {"epochs": 1, "loss": {"name": "asymmetric"}},
    },
]


def config_of(changes: dict[str, Any], folder: Path, clips: Path) -> Path:
    model = {"weights": str(trunk(folder / "trunk.safetensors")), **changes.get("model", {})}
    config = toy_config(folder / "run", clips, **{**changes, "model": model, "optim": {"warmup_epochs": 0}})
    if "labels" in config["data"]:
        for split in ("train", "test"):
            films = DATASETS.build(toy_config(folder, clips)["data"]["dataset"]).load(split, clips)  # rendered now
            rows = (f"{name} {number % 8},{number // 4 % 8}\n" for number, name in enumerate(films.names()))
            config["data"][split] = str(folder / f"{split}.csv")
            (folder / f"{split}.csv").write_text("".join(rows))
    return write_config(folder / "c.yaml", config)


def test_the_configs_set_every_key_that_alters_a_prediction(tmp_path: Path, clips: Path) -> None:
    default = Config(output=tmp_path).model_dump(mode="json")
    dumps = [load_config(config_of(part, tmp_path, clips)).model_dump(mode="json") for part in CHANGES]
    for key in keys_that_alter(Alters.PREDICTION):
        assert any(value_of(dump, key) != value_of(default, key) for dump in dumps), key


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", CHANGES, ids=["seen otherwise", "two methods", "whole frames", "prompts", "several labels"]
)
def test_one_answer_by_every_door(changes: dict[str, Any], tmp_path: Path, clips: Path) -> None:
    assert train.main(["--cfg", str(config_of(changes, tmp_path, clips))]) == 0
    folder, weights = tmp_path / "run", tmp_path / "trunk.safetensors"
    videos = sorted(clips.glob("test/*/*.mp4"))[:3]
    by_run = Predictor.from_run(folder, "cpu")
    by_file = Predictor.from_adapter(folder / "adapter.safetensors", weights, "cpu")
    bank = AdapterBank.from_files([folder / "adapter.safetensors"], weights)
    for video in videos:
        assert torch.equal(by_run.logits(video), by_file.logits(video))
        assert by_run.predict(video) == by_file.predict(video)
        ((of_bank,),) = (said.answers for said in asking_tasks(bank, torch.device("cpu")).each([video], 5))
        assert [p.name for p in of_bank] == [p.name for p in by_run.predict(video)]
    config, names, model = open_run(folder, torch.device("cpu"))
    assert export_torch(model, config, names, tmp_path / "m.pt2") <= TOLERANCE
