"""K adapters of one backbone in one pass against K runs, one by one."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.reading_speed import alternate
from videoadapt.config.schema import Config, ModelConfig, TestConfig
from videoadapt.inference.adapter_bank import AdapterBank, asking_tasks
from videoadapt.inference.predictor import Predictor
from videoadapt.models.backbones.vit import SIZES
from videoadapt.runs.adapter_file import save_adapter
from videoadapt.runs.build import build_seeded_model


def measure(video: Path, tasks: int, size: str, first_block: int, repeats: int, device: torch.device) -> dict[str, Any]:
    """Seconds for a video and `tasks` adapters of random values: one bank, and as many predictors, measured alternately."""
    blocks = list(range(first_block, SIZES[size].depth))
    adapter = {"name": "adaptformer", "bottleneck": 64, "blocks": blocks}
    model = ModelConfig(backbone={"name": "vit", "size": size}, adapter=adapter)
    config = Config(output=Path(), model=model, test=TestConfig(clips=1, crops=1))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.safetensors" for number in range(tasks)]
        for number, path in enumerate(paths):
            adapted = build_seeded_model(config, classes=51)
            torch.manual_seed(number + 1)
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.data.normal_(std=0.02)
            save_adapter(adapted, config, [str(label) for label in range(51)], path)
        bank = AdapterBank.from_files(paths).to(device)
        predictors = [Predictor.from_adapter(path, None, device) for path in paths]

    def together() -> None:
        list(asking_tasks(bank, device).each([video], 5))

    def one_by_one() -> None:
        for predictor in predictors:
            predictor.predict(video)

    bank_sec, single_sec = alternate([together, one_by_one], repeats)
    return {
        "tasks": tasks,
        "first_block": first_block,
        "size": size,
        "device": str(device),
        "bank_sec": bank_sec,
        "one_by_one_sec": single_sec,
        "ratio": single_sec / bank_sec,
    }
