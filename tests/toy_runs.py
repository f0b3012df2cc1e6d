"""Small real runs for tests: rendered H.264 files, a toy ViT, the same front door that a user takes."""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tests import forked
from videoadapt.files import read_jsonl
from videoadapt.runs.checkpoint import list_checkpoints, load_checkpoint

REPOSITORY = Path(__file__).parent.parent


def toy_config(output: Path, root: Path, **changes: Any) -> dict[str, Any]:
    """A config as nested dict: 8 motions, 6 training and 2 test clips each, a toy trunk with random weights.

    `changes` are sections to merge: toy_config(..., train={"epochs": 1}).
    """
    config: dict[str, Any] = {
        "output": str(output),
        "device": "cpu",
        "model": {
            "backbone": {"name": "vit", "size": "tiny", "width": 32, "depth": 2, "num_heads": 2, "patch_px": 16},
            "adapter": {"name": "adaptformer", "bottleneck": 4, "dropout": 0.1},
            "head": {"batch_norm": True, "dropout": 0.1},
        },
        "data": {
            "dataset": {
                "name": "synthetic", "vocabulary": "quickstart",
                "train_per_class": 6, "val_per_class": 0, "test_per_class": 2,
            },
            "root": str(root),
            "train": "train",
            "test": "test",
            "num_frames": 4,
            "sampling": {"name": "dense", "stride_frames": 2},
            "crop_px": 32,
            "workers": 0,
        },
        "optim": {"name": "adamw", "lr_per_256": 0.05, "warmup_epochs": 1},
        "train": {"epochs": 2, "batch_size": 8},
        "test": {"clips": 2, "crops": 3},
    }  # fmt: skip
    for section, values in changes.items():
        config[section] = {**config[section], **values} if isinstance(values, dict) else values
    return config


def full_recipe(output: Path, clips: Path, **changes: Any) -> Path:
    """Everything on that has a state or draws numbers; 40 updates, a validation every 5, a checkpoint every 3."""
    augment = {
        "crop": "random_resized",
        "rand_augment": "rand-m7-n4-mstd0.5-inc1",
        "erasing": 0.25,
        "mixup": 0.8,
        "cutmix": 1.0,
    }  # the toy model has dropout in adapter and head
    data = {**toy_config(Path(), clips)["data"], "augment": augment, "val": {"holdout": 0.17}}
    training = {"epochs": 8, "batch_size": 8, "accumulate": 2, "ema": 0.9, "checkpoint_every_steps": 3, **changes}
    return write_config(output.with_suffix(".yaml"), toy_config(output, clips, data=data, train=training))


def toy_pretraining(output: Path, **changes: Any) -> dict[str, Any]:
    """Two epochs of three updates on rendered clips, a toy trunk and decoder."""
    config = toy_config(
        output, Path("nowhere"), test={"enable": False}, train={"epochs": 2, "batch_size": 4, "ema": 0.5}
    )
    config |= {
        "task": "pretrain",
        "pretrain": {"mask_ratio": 0.5, "decoder_width": 16, "decoder_heads": 2, "decoder_depth": 1},
    }
    config["model"] = {"backbone": config["model"]["backbone"], "adapter": {"name": "full"}}
    del config["data"]["train"], config["data"]["test"]
    config["data"]["rendered"] = {"motions": "any", "clips_per_epoch": 12}
    config["optim"]["betas"] = [0.9, 0.95]
    for section, values in changes.items():
        config[section] = {**config[section], **values}
    return config


def write_config(path: Path, config: dict[str, Any]) -> Path:
    """Write a config where `--cfg` can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")  # the first of several test lists counts
    return path


def copy_tree(folder: Path) -> None:
    """The package and its tools, as a clone has them in `folder`: for code of a test's own beside it."""
    for name in ("videoadapt", "tools"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def command(config: Path, *overrides: str, ranks: int = 1) -> list[str]:
    """What Python is told for a run, under torchrun when there are several ranks."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    return [*launcher, "tools/run_net.py", "--cfg", str(config), *overrides]


def environment(threads: int = 1) -> dict[str, str]:
    """Environment for child processes: by default one thread each, so that two of them do not fight for two cores."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(REPOSITORY)}


def run(config: Path, *overrides: str, ranks: int = 1, code: int = 0, threads: int = 1) -> str:
    """Run to the end, check the exit code, return all output.

    Ranks find one another as torchrun would tell them; where one is to fail, it is torchrun that ends the others.
    """
    by_torchrun = ranks > 1 and code != 0
    told = command(config, *overrides, ranks=ranks if by_torchrun else 1)
    with tempfile.TemporaryFile("a+b") as output, places(ranks) as of_ranks:
        environs = [environment(threads)] if by_torchrun else [environment(threads) | place for place in of_ranks]
        processes = [forked.start(told, environ, output.fileno()) for environ in environs]
        try:
            codes = [process.wait(timeout=1200) for process in processes]
        finally:
            for process in processes:
                process.kill()
        output.seek(0)
        said = output.read().decode(errors="replace")
    assert codes == [code] * len(codes), f"exit codes {codes}, expected {code}:\n{said}"
    return said


@contextmanager
def places(ranks: int) -> Iterator[list[dict[str, str]]]:
    """For each of several ranks on this machine what says which one it is, and where they meet.

    Nobody listens there before the first rank does, after seconds, and until then no other process is given that port.
    """
    if ranks == 1:
        yield [{}]
        return
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch does: who asks for this port gets it
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        yield [
            {key: str(value) for key, value in {**meeting, "RANK": rank, "LOCAL_RANK": rank}.items()}
            for rank in range(ranks)
        ]


def records(output: Path, kind: str = "train") -> list[dict[str, Any]]:
    """Records of one kind in a run's metrics.jsonl, which may be writing another one."""
    return [record for record in read_jsonl(output / "metrics.jsonl", "step") if record["kind"] == kind]


def results(output: Path) -> dict[str, Any]:
    """A run's results.json."""
    content: dict[str, Any] = json.loads((output / "results.json").read_text(encoding="utf-8"))
    return content


def final_weights(output: Path) -> dict[str, torch.Tensor]:
    """The model in a run's newest checkpoint."""
    weights: dict[str, torch.Tensor] = load_checkpoint(list_checkpoints(output)[0])["model"]
    return weights


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: metrics, weights and test scores."""
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    weights, others = final_weights(one), final_weights(other)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    scores = [np.load(folder / "predictions.npz")["view_logits"] for folder in (one, other)]
    assert np.array_equal(*scores, equal_nan=True)  # of videos that cannot be read
