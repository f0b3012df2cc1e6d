"""Many adapters in one pass answer as each of them alone, and share what is equal."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.media import write_video
from tests.weight_files import SIZES, trunk
from videoadapt.cli import demo
from videoadapt.config.schema import Config, DataConfig, HeadConfig, ModelConfig
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.inference.adapter_bank import AdapterBank
from videoadapt.models.classifier import Classifier
from videoadapt.runs.adapter_file import read_adapter, save_adapter
from videoadapt.runs.build import build_model

ADAPTERS = [
    {"name": "linear"},
    {"name": "adaptformer", "bottleneck": 4, "scale": 0.5, "form": "parallel"},
    {"name": "adaptformer", "bottleneck": 3, "scale": "learnable", "form": "sequential", "blocks": [1]},
    {"name": "adaptformer", "bottleneck": 4, "scale": 2.0, "form": "parallel"},
    {"name": "full"},
    {"name": "linear"},
    {"name": "vpt", "num_tokens": 2},
    {"name": "lora", "blocks": [1]},
    {"name": "ssf"},
    {"name": "bitfit"},
    {"name": "vpt", "num_tokens": 3, "form": "shallow"},
    {"name": "houlsby", "bottleneck": 3},
    {"name": "adapter_plus", "bottleneck": 3},
    {"name": "st_adapter", "bottleneck": 4},
    {"name": "attentive_probe"},
    {"name": "attentive_probe", "over": "times", "num_times": 3},
    {"name": "aim", "bottleneck": 3},
    [{"name": "adaptformer", "bottleneck": 3}, {"name": "st_adapter", "bottleneck": 4}, {"name": "lora"}],
]


def write(folder: Path, number: int, adapter: dict, weights: Path, num_classes: int, crop_px: int = 32) -> Path:
    """An adapter file with random values in everything that trains."""
    torch.manual_seed(number)
    spec = ModelConfig(
        backbone=SIZES, adapter=adapter, weights=str(weights), head=HeadConfig(batch_norm=number % 2 == 0)
    )
    data = DataConfig(num_frames=4, crop_px=crop_px)
    config = Config(output=folder, model=spec, data=data)
    model = build_model(spec, num_classes, 4, crop_px)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn_like(parameter)
    path = folder / f"{number}.safetensors"
    save_adapter(model, config, [f"{number}-{k}" for k in range(num_classes)], path)
    return path


def alone(path: Path, weights: Path) -> Classifier:
    file = read_adapter(path)
    model = build_model(file.config.model.model_copy(update={"weights": str(weights)}), len(file.class_names), 4, 32)
    file.load_into(model)
    return model.eval()


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], Path]:
    weights = trunk(tmp_path / "trunk.safetensors")
    return [write(tmp_path, n, adapter, weights, 3 + n) for n, adapter in enumerate(ADAPTERS)], weights


@pytest.mark.parametrize("reverse", [False, True])
@torch.inference_mode()
def test_it_answers_as_each_alone(files: tuple[list[Path], Path], reverse: bool) -> None:
    paths, weights = files
    if reverse:
        paths = paths[::-1]
    bank = AdapterBank.from_files(paths, str(weights))
    clips = torch.randn(2, 3, 4, 32, 32)
    for path, logits_BK in zip(paths, bank.split(bank(clips)), strict=True):
        torch.testing.assert_close(logits_BK, alone(path, weights)(clips), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_so_it_does_where_each_time_passes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "attention", "framewise")
    weights = trunk(tmp_path / "trunk.safetensors")
    clips = torch.randn(2, 3, 4, 32, 32)
    paths = [
        write(tmp_path, n, adapter, weights, 3) for n, adapter in enumerate(ADAPTERS) if n in (0, 1, 6, 13, 15, 16)
    ]
    bank = AdapterBank.from_files(paths, str(weights))
    for path, logits_BK in zip(paths, bank.split(bank(clips)), strict=True):
        torch.testing.assert_close(logits_BK, alone(path, weights)(clips), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_same_numbers_at_another_scale_are_another_adapter(tmp_path: Path) -> None:
    weights = trunk(tmp_path / "trunk.safetensors")
    paths = []
    for scale in (0.5, 2.0):
        (tmp_path / str(scale)).mkdir()
        paths.append(
            write(tmp_path / str(scale), 1, {"name": "adaptformer", "bottleneck": 4, "scale": scale}, weights, 3)
        )
    bank = AdapterBank.from_files(paths, str(weights))
    clips = torch.randn(2, 3, 4, 32, 32)
    first, second = bank.split(bank(clips))
    assert (first - second).abs().max() > 1e-3
    torch.testing.assert_close(second, alone(paths[1], weights)(clips), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_equal_work_is_done_once(files: tuple[list[Path], Path]) -> None:
    paths, weights = files
    bank = AdapterBank.from_files([paths[0], paths[2], paths[5]], str(weights))  # linear, blocks [1], linear
    seen: list[int] = []
    first = bank.models[0].backbone
    for block in first.blocks:
        for branch in (block.attn, block.mlp):
            branch.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    bank(torch.randn(2, 3, 4, 32, 32))
    assert seen == [2, 2, 2, 2]  # one clip batch through each branch of the trunk, whatever the number of tasks
    unique = sum(p.numel() for p in bank.parameters())
    plain = sum(p.numel() for p in first.parameters())
    assert unique < 1.2 * plain


def test_files_that_do_not_go_together(files: tuple[list[Path], Path], tmp_path: Path) -> None:
    paths, weights = files
    other = write(tmp_path, 9, {"name": "linear"}, weights, 3, crop_px=48)
    with pytest.raises(ConfigError, match=r"9.safetensors: data.crop_px = 48, but 32 in .*0.safetensors"):
        AdapterBank.from_files([paths[0], other], str(weights))
    tensors = load_file(paths[1])
    with safe_open(paths[1], "pt") as file:
        metadata = file.metadata()
    assert '"average": "logits"' in metadata["config"]
    metadata["config"] = metadata["config"].replace('"average": "logits"', '"average": "probs"')
    save_file(tensors, tmp_path / "probs.safetensors", metadata)
    with pytest.raises(ConfigError, match=r"probs.safetensors: test.average = 'probs', but 'logits'"):
        AdapterBank.from_files([paths[0], tmp_path / "probs.safetensors"], str(weights))
    with pytest.raises(CheckpointError, match="another backbone"):
        AdapterBank.from_files(paths[:2], str(trunk(tmp_path / "b.safetensors", seed=2)))


def test_the_demo_asks_all_of_them(
    files: tuple[list[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, weights = files
    video = write_video(tmp_path / "clip.mp4")
    arguments = [str(video), "--weights", str(weights), "--json"]
    adapters = [part for path in paths[:3] for part in ("--adapter", str(path))]
    assert demo.main([*arguments, *adapters]) == 0
    together = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for path, answer in zip(paths[:3], together, strict=True):
        assert demo.main([*arguments, "--adapter", str(path)]) == 0
        single = json.loads(capsys.readouterr().out)
        assert single["adapter"] == answer["adapter"] == str(path)
        for one, other in zip(single["predictions"], answer["predictions"], strict=True):
            assert one["name"] == other["name"] and one["probability"] == pytest.approx(other["probability"], abs=1e-5)
