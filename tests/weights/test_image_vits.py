"""Image ViTs of timm and MAE as video trunks: on a clip that stands still, they see what the image model sees."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.hub_files import in_timm_folder, mae_fine_tuned, timm_vit
from tests.toy_runs import toy_config, write_config
from tests.weight_files import refusal, saved, toy
from videoadapt.config.loading import load_config
from videoadapt.config.schema import ModelConfig, OptimConfig
from videoadapt.evaluation.testing import test as run_test
from videoadapt.models.loading import load_backbone, save_backbone
from videoadapt.runs.build import build_model, open_run
from videoadapt.runs.run import prepare
from videoadapt.training.loop import train
from videoadapt.training.optimizer import build_optimizer
from videoadapt.weights.formats import read_weights

IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
KEY_BIAS = "key bias (softmax ignores it)"


def still(frames: int) -> Tensor:
    return IMAGE[:, :, None].repeat(1, 1, frames, 1, 1)


def mae(**changes: Any) -> dict[str, Tensor]:
    """A pre-training file of facebookresearch/mae at toy size: encoder, fixed sin-cos positions, decoder."""
    source = timm_vit(**changes).state_dict()
    block = {key.removeprefix("blocks.0."): value for key, value in source.items() if key.startswith("blocks.0.")}
    decoder = {f"decoder_blocks.{n}.{key}": value for n in range(2) for key, value in block.items()}
    for name in ("mask_token", "decoder_pos_embed", "decoder_embed.weight", "decoder_norm.weight", "decoder_pred.bias"):
        decoder[name] = torch.zeros(4)
    return {key: value for key, value in source.items() if not key.startswith("head.")} | decoder


# ---- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("inflate", ["average", "centre"])
def test_each_step_of_a_still_clip_has_the_images_tokens(tmp_path, class_token, inflate):
    theirs = timm_vit(class_token=class_token, global_pool="avg")
    model = toy()
    load_backbone(model, read_weights(in_timm_folder(tmp_path, theirs)), inflate)
    with torch.no_grad():
        expected = theirs._pos_embed(theirs.patch_embed(IMAGE))[:, int(class_token) :]
        tokens = model.backbone.embed(still(8)).unflatten(1, (4, 16))
    assert expected.std() > 0.1
    for time in range(4):
        torch.testing.assert_close(tokens[:, time], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tubelet_frames", [1, 2, 3])
def test_the_whole_model_on_one_tubelet_equals_the_image_model(tmp_path, tubelet_frames):
    theirs = timm_vit(class_token=False, global_pool="avg")
    assert theirs.blocks[0].attn.qkv.bias[48:96].abs().max() > 0.05  # dropping the key bias is exact
    model = toy(tubelet_frames=tubelet_frames)
    report = load_backbone(model, read_weights(in_timm_folder(tmp_path, theirs)))
    assert report.unused == ("head of 7 image classes", KEY_BIAS) and report.new == ("head",)
    with torch.no_grad():
        feature = theirs.forward_head(theirs.forward_features(IMAGE), pre_logits=True)
        difference = (model.features(still(tubelet_frames)) - feature).abs().max().item()
    assert feature.std() > 0.1 and difference <= 1e-5


def test_kernels_are_averaged_or_put_in_the_centre(tmp_path):
    theirs = timm_vit()
    location = in_timm_folder(tmp_path, theirs)
    kernel = theirs.patch_embed.proj.weight
    average, centre = toy(tubelet_frames=3), toy(tubelet_frames=3)
    load_backbone(average, read_weights(location))
    load_backbone(centre, read_weights(location), "centre")
    torch.testing.assert_close(average.backbone.patch_embed.weight, torch.stack([kernel / 3] * 3, 2))
    zero = torch.zeros_like(kernel)
    assert centre.backbone.patch_embed.weight.equal(torch.stack([zero, kernel, zero], 2))


@pytest.mark.parametrize("size", [(48, 64), (24, 24)])
def test_positions_interpolate_in_space_and_repeat_in_time(tmp_path, size):
    theirs = timm_vit()
    model = toy()
    load_backbone(model, read_weights(in_timm_folder(tmp_path, theirs)))
    rows, columns = size[0] // 8, size[1] // 8
    grid = theirs.pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False, antialias=False)
    with torch.no_grad():
        got = model.backbone.embed(torch.zeros(1, 3, 6, *size)) - model.backbone.patch_embed.bias
        got = got.unflatten(1, (3, rows, columns))
        for time in range(3):
            torch.testing.assert_close(got[0, time].permute(2, 0, 1), resized[0], rtol=0, atol=1e-6)
        assert model.backbone.embed(still(4)).shape == (2, 32, 48)  # and back to another grid


# ---- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "unused", "loaded", "new"),
    [
        (timm_vit().state_dict, ["head of 7 image classes", "norm", "class token", KEY_BIAS], 42, ("fc_norm", "head")),
        (lambda: mae(), ["mask_token", "decoder", "norm", "class token", KEY_BIAS], 42, ("fc_norm", "head")),
        (mae_fine_tuned, ["head of 7 image classes", "class token", KEY_BIAS], 44, ("head",)),
        (timm_vit(no_embed_class=True).state_dict, ["head of 7 image classes", "norm", "class token", KEY_BIAS], 42,
         ("fc_norm", "head")),
        (timm_vit(num_classes=0, class_token=False, global_pool="avg").state_dict, [KEY_BIAS], 44, ("head",)),
    ],
    ids=["timm", "mae", "mae fine-tuned", "timm, class token without position", "timm without head"],
)  # fmt: skip
def test_every_source_says_what_it_drops(tmp_path, make: Callable[[], dict], unused, loaded, new):
    source = make()
    model = toy(num_classes=7)  # as many as in the file: they are still image classes
    report = load_backbone(model, read_weights(saved(tmp_path, {"model": source, "epoch": 1})))
    assert (report.format, report.loaded, report.new) == ("image ViT", loaded, new)
    assert sorted(report.unused) == sorted(unused)
    assert report.notes == (
        "positions learned on a grid of 4 x 4 patches",
        "patch kernel inflated to 2 frames (inflate = average)",
    )
    assert model.backbone.space_positions.flatten(0, 1).equal(source["pos_embed"][0, -16:])
    if "fc_norm.weight" in source:
        assert model.fc_norm.weight.equal(source["fc_norm.weight"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.pop("pos_embed"), "without `pos_embed`"),
        (lambda s: s.update(pos_embed=torch.zeros(1, 20, 48)), r"pos_embed (1, 20, 48): not the positions of a square"),
        (lambda s: s.update(pos_embed=torch.zeros(17, 48)), r"pos_embed (17, 48): not the positions of a square"),
        (lambda s: s.update(reg_token=torch.zeros(1, 4, 48)), "unexpected in the file: reg_token"),
        (lambda s: s.update({"blocks.0.ls1.gamma": torch.zeros(48)}), "unexpected in the file: blocks.*.ls1.gamma"),
        (lambda s: s.update({"fc_norm.weight": torch.zeros(48)}), "unexpected in the file: norm.weight"),
        (lambda s: s.pop("blocks.1.attn.qkv.bias"), "missing in the file: backbone.blocks.*.attn.fn.qkv.q_bias"),
        (
            lambda s: s.update(pos_embed=torch.zeros(1, 17, 40)),
            "space_positions, (4, 4, 40) in the file, (4, 4, 48) in",
        ),
        (lambda s: s.pop("patch_embed.proj.bias"), "missing in the file: backbone.patch_embed.bias"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, problem):
    source = timm_vit().state_dict()
    change(source)
    assert problem in refusal(saved(tmp_path, source))


def test_the_likely_cause_is_named(tmp_path):
    location = in_timm_folder(tmp_path, timm_vit())
    for dims, cause in (
        ({"patch_px": 16}, "patch_px = 8 in the file, 16 in the model"),
        ({"depth": 2}, "depth = 3 in the file, 2 in the model"),
        ({"width": 96}, "width = 48 in the file, 96 in the model"),
    ):
        assert f"likely cause: {cause}" in refusal(location, toy(**dims))


# ---- living on -------------------------------------------------------------------------------------------------------


def test_a_saved_trunk_brings_its_positions_back(tmp_path):
    model, other = toy(), toy()
    load_backbone(model, read_weights(in_timm_folder(tmp_path, timm_vit())))
    save_backbone(model.backbone, tmp_path / "trunk.safetensors", {})
    report = load_backbone(other, read_weights(str(tmp_path / "trunk.safetensors")))
    assert report.format == "videoadapt" and other.backbone.space_positions.requires_grad
    clip = torch.randn(1, 3, 4, 24, 40)
    assert other.backbone(clip).equal(model.backbone(clip))
    assert not any("positions" in name for name in toy().state_dict())


def test_model_weights_and_inflate_are_all_that_a_user_sets(tmp_path):
    location = in_timm_folder(tmp_path, timm_vit())
    backbone = {"name": "vit", "size": "tiny", "width": 48, "depth": 3, "num_heads": 3}
    models = {}
    for inflate in ("average", "centre"):
        spec = ModelConfig(backbone=backbone, weights=location, adapter={"name": "full"}, inflate=inflate)
        models[inflate] = build_model(spec, 5, 8, 64)
    frames = [models[how].backbone.patch_embed.weight[:, :, 0].abs().max().item() for how in models]
    assert frames[0] > 0 and frames[1] == 0
    torch.manual_seed(0)
    models["average"](torch.randn(3, 3, 8, 64, 64)).square().mean().backward()
    positions = models["average"].backbone.space_positions
    assert positions.requires_grad and positions.grad.abs().max() > 0
    groups = build_optimizer(
        models["average"], models["average"].backbone, OptimConfig(weight_decay=0.1, layer_decay=0.5)
    ).param_groups
    group = next(group for group in groups if any(p is positions for p in group["params"]))
    assert (group["weight_decay"], group["lr_scale"]) == (0.0, 0.5**4)  # as MAE tunes: not decayed, like the embedding


@pytest.mark.parametrize(
    "adapter", [{"name": "adaptformer", "bottleneck": 4}, {"name": "full"}], ids=lambda a: a["name"]
)
def test_a_run_trains_tests_and_opens_again(tmp_path, clips, adapter):
    location = in_timm_folder(tmp_path / "image", timm_vit(embed_dim=32, depth=2, num_heads=2, patch_size=16))
    raw = toy_config(tmp_path / "run", clips, model={"weights": location, "adapter": adapter})
    raw["train"]["epochs"] = 1
    with prepare(load_config(write_config(tmp_path / "config.yaml", raw))) as run:
        train(run)
        run_test(run)
    _, _, model = open_run(tmp_path / "run", torch.device("cpu"))
    for name, tensor in run.model.state_dict().items():
        assert model.state_dict()[name].equal(tensor), name
    assert model.backbone.space_positions.shape == (2, 2, 32)
