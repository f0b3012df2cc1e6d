"""Values for every key of a config, valid, at the edge, and wrong only beside others; and the toy run they are set in."""

from pathlib import Path
from typing import Any

from tests.toy_runs import toy_config

ADAPTERS = (
    "adapter_plus", "attentive_probe", "bitfit", "full", "houlsby", "linear", "lora", "ssf", "st_adapter", "vpt",
)  # fmt: skip
# A value that can never be is the schema's to refuse, and is not here.
VALUES: dict[str, list[Any]] = {
    "task": ["pretrain"],
    "seed": [7, 2**64 - 1],
    "device": ["auto", "cuda"],
    "model.backbone.depth": [1],
    "model.backbone.width": [18],
    "model.backbone.num_heads": [1, 3],
    "model.backbone.patch_px": [7, 8],
    "model.backbone.tubelet_frames": [1, 3],
    "model.backbone.drop_path": [0.5, 0.999],
    "model.backbone_weights": ["missing.pth"],
    "model.weights": ["missing.pth", "package:masked_trunk.safetensors"],
    "model.inflate": ["centre"],
    "model.adapter": [*({"name": name} for name in ADAPTERS), [{"name": "lora"}, {"name": "vpt"}]],
    "model.head.batch_norm": [False],
    "model.head.sync": [True],
    "model.head.dropout": [0.5, 1.0],
    "model.head.init_std": [1e-9],
    "model.head.init_scale": [1e-9],
    "data.dataset.train_per_class": [1],
    "data.root": ["/etc/passwd"],
    "data.train": ["nowhere", None, "val"],
    "data.first_per_class": [1, 100],
    "data.rendered": [{"motions": "quickstart", "clips_per_epoch": 16}, {"motions": "any", "clips_per_epoch": 16}],
    "data.val": ["val", "nowhere", {"holdout": 0.5}, {"holdout": 0.5, "group": "("}, {"holdout": 0.5, "group": "mp4"}],
    "data.test": [None, "nowhere"],
    "data.classes": [7, 8, 9, "missing.txt"],
    "data.columns": [["path", "label"], ["path"]],
    "data.decoder": [{"name": "pyav"}, {"name": "pyav", "threads": 2}],
    "data.short_side_px": [2, 32, 5000],
    "data.jpeg_quality": [1, 95, 100],
    "data.cache": ["/etc/passwd/x"],
    "data.cache_gb": [1e-9],
    "data.num_frames": [1, 2, 3, 16, 24, 26],
    "data.sampling": [
        {"name": "dense", "fps_hz": 0.01},
        {"name": "dense", "fps_hz": 1000.0},
        {"name": "dense", "stride_sec": 0.1},
        {"name": "segment"},
        {"name": "segment", "short": "first_frame"},
        {"name": "dense", "stride_frames": 2, "window": "adaptformer"},
        {"name": "dense", "stride_frames": 100},
        {"name": "dense", "stride_frames": 2, "window": "videomae"},
    ],
    "data.crop_px": [1, 16, 33, 64],
    "data.augment.crop": ["random_resized", "random", "centre"],
    "data.augment.flip": [1.0],
    "data.augment.rand_augment": ["rand-m7-n4-mstd0.5-inc1", "foo", ""],
    "data.augment.erasing": [1.0],
    "data.augment.mixup": [0.8, 1e-300],
    "data.augment.cutmix": [1.0],
    "data.augment.label_smoothing": [0.5],
    "data.augment.repeated": [2],
    "data.augment.repeated_frames": ["same"],
    "data.augment.cutmix_box": ["even"],
    "data.workers": [2],
    "data.limit_sec": [1e-9, 86_400],
    "data.max_unreadable": [0.0, 1.0],
    "optim.name": ["sgd", "adam", "radam", "adamax", "rmsprop"],
    "optim.options": [{"eps": 1e-6}, {"amsgrad": True}, {"centered": True}],
    "optim.schedule": [
        {"name": "constant"},
        {"name": "step", "milestones_epochs": [0.5, 1]},
        {"name": "polynomial", "power": 0.9},
        {"name": "one_cycle", "rise": 0.0},
    ],
    "optim.lr_per_256": [1e-30, 1e-3],
    "optim.warmup_lr_per_256": [0.05, 1.0],
    "optim.min_lr_per_256": [0.05, 1.0],
    "optim.warmup_epochs": [0, 0.5, 2, 1e-300],
    "optim.warmup_peak": ["within"],
    "optim.weight_decay": [0.05],
    "optim.momentum": [0.0, 1.0],
    "optim.betas": [[0.0, 0.0], [0.9, 0.95]],
    "optim.layer_decay": [0.5, 1e-300],
    "train.enable": [False],
    "train.epochs": [2],
    "train.batch_size": [1, 2, 3, 16, 17],
    "train.accumulate": [2, 3, 8],
    "train.clip_grad_norm": [1e-9],
    "train.precision": ["auto", "bf16", "fp16"],
    "train.compile": [True, "auto"],
    "train.ema": [0.5],
    "train.activation_checkpointing": [True],
    "train.shard": [True],
    "train.validate_every_epochs": [5],
    "train.validate_clips": [2, 40],
    "train.validate_crops": [2, 3],
    "train.checkpoint_every_steps": [1],
    "train.keep_checkpoints": [1],
    "train.resume": ["force", "never"],
    "test.enable": [False],
    "test.clips": [1, 3, 40],
    "test.crops": [1, 2, 40],
    "test.average": ["probs"],
    "test.batch_size": [1, 1000],
    "test.compile": [True],
    "test.max_unreadable": [1.0],
    "pretrain.mask_ratio": [0.5, 0.95],
    "pretrain.decoder_width": [15, 16],
    "pretrain.decoder_heads": [3, 4],
    "pretrain.decoder_depth": [1],
    "pretrain.mask_token_cut": [1e-9, 1.0],
    "pretrain.picture_every_epochs": [1],
}
FREE_TEXT = ("output", "model.obtain", "data.obtain")  # say what they like, and decide nothing
SLOW_TO_RUN = (
    "train.compile",
    "test.compile",
    "data.workers",
    "data.cache",
)  # minutes, processes, or the memory of others


def tiny_run(output: Path, root: Path) -> dict[str, Any]:
    """A run of two updates and eight test videos, as nested dict: as little as goes through every stage."""
    config = toy_config(output, root, train={"epochs": 1, "batch_size": 8})
    config["model"]["backbone"] |= {"width": 16, "depth": 2}
    config["model"]["adapter"] = {"name": "adaptformer", "bottleneck": 2}
    config["data"]["dataset"] |= {"train_per_class": 2, "val_per_class": 1, "test_per_class": 1}
    return config
