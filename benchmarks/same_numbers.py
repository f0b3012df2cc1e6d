"""Show that two checkouts compute the same numbers, to the bit: for a change that should alter none.

`python benchmarks/same_numbers.py record CHECKOUT FOLDER` trains and tests six small configs with the code in CHECKOUT.
`python benchmarks/same_numbers.py compare FOLDER FOLDER` compares metrics.jsonl, results.json, logits and weights of two such
folders, prints a line for each run, and exits with 1 when anything differs.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

TOY: dict[str, Any] = {
    "device": "cpu",
    "model": {
        "backbone": {"name": "vit", "size": "tiny", "width": 32, "depth": 3, "num_heads": 2, "patch_px": 16},
        "adapter": {"name": "adaptformer", "bottleneck": 4, "dropout": 0.1},
    },
    "data": {
        "dataset": {"name": "synthetic", "vocabulary": "quickstart",
                    "train_per_class": 6, "val_per_class": 2, "test_per_class": 2},
        "train": "train", "test": "test", "num_frames": 4, "crop_px": 32, "workers": 2,
        "sampling": {"name": "dense", "stride_frames": 2},
    },
    "optim": {"name": "adamw", "lr_per_256": 0.05, "warmup_epochs": 1},
    "train": {"epochs": 3, "batch_size": 8, "checkpoint_every_steps": 5},
    "test": {"clips": 2, "crops": 3},
}  # fmt: skip
PRETRAINING = {"name": "adamw", "betas": [0.9, 0.95], "lr_per_256": 1e-3, "warmup_epochs": 1}
RUNS: dict[str, dict[str, Any]] = {
    "adaptformer": {"data": {"val": "val", "cache": "ram", "short_side_px": 40}, "train": {"ema": 0.9}},
    "two_ranks": {"model": {"head": {"sync": True}}, "train": {"accumulate": 2}, "test": {"average": "probs"}},
    "full": {
        "model": {"backbone": {"drop_path": 0.2}, "adapter": {"name": "full"}, "head": {"batch_norm": False}},
        "data": {
            "sampling": {"name": "segment"},
            "val": {"holdout": 0.25},
            "augment": {
                "crop": "random_resized", "flip": 0.5, "rand_augment": "rand-m7-n4-mstd0.5-inc1", "erasing": 0.5,
                "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "repeated": 2,
            },
        },
        "optim": {"layer_decay": 0.75, "weight_decay": 0.05},
        "train": {"precision": "bf16", "clip_grad_norm": 1.0},
    },
    "several_adapters": {
        "model": {"adapter": [
            {"name": "vpt", "num_tokens": 2}, {"name": "lora", "rank": 2}, {"name": "st_adapter", "bottleneck": 8},
        ]},
        "data": {
            "decoder": {"name": "pyav"}, "sampling": {"name": "dense", "stride_frames": 4, "window": "videomae"}, "workers": 0,
        },
    },
    "rendered": {"data": {"train": None, "rendered": {"motions": "quickstart", "clips_per_epoch": 48}}},
    "pretrain": {
        "task": "pretrain", "model": {"adapter": {"name": "full"}}, "optim": PRETRAINING, "test": {"enable": False},
        "pretrain": {"decoder_width": 16, "decoder_heads": 2, "decoder_depth": 1, "picture_every_epochs": 1},
    },
}  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run the configs with one checkout")
    recording.add_argument("checkout", type=Path)
    recording.add_argument("folder", type=Path)
    comparing = commands.add_parser("compare", help="compare what two checkouts gave")
    comparing.add_argument("folders", type=Path, nargs=2)
    return parser.parse_args()


def record(checkout: Path, folder: Path) -> None:
    """Run every config with the code in `checkout`; clips are rendered once, into `folder`."""
    for name, changes in RUNS.items():
        config = merged(TOY, changes)
        config["output"] = str(folder.absolute() / name)
        config["data"]["root"] = str(folder.absolute() / "clips")
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if name == "two_ranks" else []
        subprocess.run(
            [sys.executable, *ranks, "tools/run_net.py", "--cfg", str(path.absolute())],
            cwd=checkout, check=True, env=os.environ | {"PYTHONPATH": str(checkout.absolute()), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def merged(base: Any, changes: Any) -> Any:
    """Return `base` with `changes` merged in; a component of another name replaces the one before."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    if "name" in changes and changes["name"] != base.get("name"):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


def differences(one: Path, other: Path) -> Iterator[str]:
    """What differs between two run folders, a line each."""
    if (one / "metrics.jsonl").read_bytes() != (other / "metrics.jsonl").read_bytes():
        yield "metrics.jsonl"
    results = [json.loads(file.read_text()) if (file := run / "results.json").exists() else {} for run in (one, other)]
    for key in sorted(results[0].keys() | results[1].keys()):
        if results[0].get(key) != results[1].get(key) and not key.endswith(("_sec", "_at")):
            yield f"results.json: {key}: {results[0].get(key)} and {results[1].get(key)}"
    for file in sorted({path.name for run in (one, other) for path in run.glob("checkpoints/*.pt")}):
        states = [torch.load(run / "checkpoints" / file, weights_only=True) for run in (one, other)]
        yield from (
            f"{file}: {name}" for name in ("model", "ema", "optimizer") if not same(*(s.get(name) for s in states))
        )
    for file in ("adapter.safetensors", "trunk.safetensors"):
        if (one / file).exists() or (other / file).exists():
            yield from (f"{file}: {name}" for name in unequal_tensors(one / file, other / file))
    if (one / "predictions.npz").exists():
        arrays = [np.load(run / "predictions.npz") for run in (one, other)]
        yield from (
            f"predictions.npz: {name}" for name in arrays[0].files if not np.array_equal(*(a[name] for a in arrays))
        )


def unequal_tensors(one: Path, other: Path) -> list[str]:
    """Names of the tensors of two safetensors files that differ."""
    ours, theirs = load_file(one), load_file(other)
    names = ours.keys() | theirs.keys()
    return sorted(
        name for name in names if name not in ours or name not in theirs or not torch.equal(ours[name], theirs[name])
    )


def same(one: Any, other: Any) -> bool:
    """True for equal nested containers of tensors and numbers."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def main() -> int:
    """Run the command and return the exit code."""
    args = parse_arguments()
    if args.command == "record":
        record(args.checkout, args.folder)
        return 0
    found = {name: list(differences(*(folder / name for folder in args.folders))) for name in RUNS}
    for name, lines in found.items():
        print(f"{name}: {'; '.join(lines) or 'the same'}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
