"""Recipes that claim to be published have the published values, also where ours are saner; our own keep ours."""

from operator import attrgetter
from typing import Any

import pytest

from videoadapt.config.loading import load_config
from videoadapt.config.shipped import config_names

RUNS = [name for name in config_names() if "/" not in name]
OURS = [
    name
    for name in RUNS
    if name.startswith(
        (
            "quickstart",
            "procedural",
            "masked_trunk",
            "supervised_trunk",
            "own_videos_small",
            "own_images_small",
            "digits",
        )
    )
]
IMAGES = [
    name
    for name in RUNS
    if name.startswith(("own_images_vit_b", "cifar100", "svhn", "food101", "flowers102", "nuswide"))
]
ELSEWHERE = [*OURS, *IMAGES]
ADAPTFORMERS = [name for name in RUNS if name.endswith(("_adapt", "_linear", "_vit_b")) and name not in ELSEWHERE]
VIDEOMAES = [name for name in RUNS if name.endswith("_full") and name not in ELSEWHERE]
PRETRAININGS = [name for name in RUNS if name.endswith("_pretrain")]

# dotted keys of the choices between a published way and ours, with ours
CHOICES = {
    "model.head.init_scale": 1.0,
    "data.augment.repeated_frames": "own",
    "data.augment.cutmix_box": "whole",
    "optim.warmup_peak": "after",
    "pretrain.mask_token_cut": None,
}
DENSE = {"name": "dense", "stride_frames": 4, "fps_hz": None, "stride_sec": None}


def chosen(name: str, *overrides: str) -> dict[str, Any]:
    config = load_config(name, overrides)
    found = {key: attrgetter(key)(config) for key in CHOICES}
    return {**found, "sampling": config.data.sampling, "adapter": config.model.adapter}


def test_every_run_is_ours_or_somebodys() -> None:
    either = ["own_videos", "own_images"]  # each is one of two others
    assert sorted([*OURS, *IMAGES, *ADAPTFORMERS, *VIDEOMAES, *PRETRAININGS, *either]) == sorted(RUNS)


@pytest.mark.parametrize("name", OURS)
def test_our_recipes_keep_our_ways(name: str) -> None:
    found = chosen(name)
    assert {key: found[key] for key in CHOICES} == CHOICES
    assert found["sampling"]["window"] == "random_start" and found["adapter"].get("init", "paper") == "paper"


@pytest.mark.parametrize("name", ADAPTFORMERS)
def test_adaptformers_recipes_read_its_windows(name: str) -> None:
    found = chosen(name)
    assert {key: found[key] for key in CHOICES} == CHOICES
    assert found["sampling"] == {**DENSE, "window": "adaptformer"}
    assert found["adapter"].get("init", "paper") == "paper"  # the paper's start stays; the released code's is offered
    assert load_config(name).model.head.init_std == 0.01


def test_prompt_tokens_start_by_their_own_papers_code() -> None:
    config = load_config("hmdb51_adapt", {"model.adapter": {"name": "vpt"}}).model.adapter
    assert isinstance(config, dict) and config["init"] == "tubelet"
    assert chosen("method/vpt", "output=somewhere")["adapter"]["init"] == "patch"


@pytest.mark.parametrize("name", VIDEOMAES)
def test_videomaes_fine_tuning_is_its_scripts(name: str) -> None:
    config, found = load_config(name), chosen(name)
    assert (config.model.head.init_std, found["model.head.init_scale"]) == (0.02, 0.001)
    assert (config.data.augment.repeated, found["data.augment.repeated_frames"]) == (2, "same")
    assert found["data.augment.cutmix_box"] == "videomae"
    assert (config.optim.warmup_lr_per_256, found["optim.warmup_peak"]) == (0.0, "within")
    ssv2 = {"name": "segment", "short": "first_frame", "fps_hz": None}
    assert found["sampling"] == (ssv2 if name == "ssv2_full" else {**DENSE, "window": "videomae"})


@pytest.mark.parametrize("name", PRETRAININGS)
def test_videomaes_pre_training_is_its_scripts(name: str) -> None:
    found = chosen(name)
    assert found["pretrain.mask_token_cut"] == 1.0 and found["optim.warmup_peak"] == "within"
    assert (
        found["sampling"]["window"] == "adaptformer"
    )  # AdaptFormer took this loader over from VideoMAE's pre-training


@pytest.mark.parametrize("name", IMAGES)
def test_adaptformers_image_recipe_is_its_main_image(name: str) -> None:
    """The released main_image.py and image_datasets.py; the batch, which there depends on the GPUs, is the paper's."""
    config, found = load_config(name), chosen(name)
    assert {key: found[key] for key in CHOICES} == CHOICES
    assert found["adapter"].get("dropout", 0.1) == 0.1 and config.model.head.init_std == 0.01
    assert config.model.backbone["model"] == "vit_base_patch16_224" and config.model.head.batch_norm
    data, optim = config.data, config.optim
    assert (data.num_frames, data.crop_px, data.resize, data.resize_px) == (1, 224, "bicubic", 256)
    assert (data.augment.crop, data.augment.erasing, data.augment.mixup) == ("random_clipped", 0.0, 0.0)
    assert data.augment.flip == 0.5 and (config.test.clips, config.test.crops) == (1, 1)
    if name != "own_images_vit_b":
        assert (optim.name, optim.momentum, optim.weight_decay, optim.lr_per_256) == ("sgd", 0.9, 0.0, 0.1)
        assert (optim.warmup_epochs, config.train.epochs, config.train.batch_size) == (20, 100, 1024)
