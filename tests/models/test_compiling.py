"""torch.compile: one graph for all blocks that are alike, and the same numbers as without it."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from tests.toy_models import CLIP, build
from tests.toy_runs import results, toy_config, write_config
from videoadapt.cli import train
from videoadapt.inference.explaining.trace import traced
from videoadapt.inference.predictor import Predictor
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.compiling import compile_blocks, compiled_only_if, filled_up


def deep_vit(drop_path: float) -> ViT:
    """More blocks than the eight graphs after which torch.compile gives up."""
    torch.manual_seed(0)
    return ViT(size="tiny", width=32, depth=12, num_heads=2, drop_path=drop_path)


# one for the patches; the first block drops nothing
@pytest.mark.parametrize(("drop_path", "graphs"), [(0.0, 2), (0.2, 3)])
def test_blocks_alike_share_one_graph(drop_path: float, graphs: int) -> None:
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    model = deep_vit(drop_path).train()
    compile_blocks(model, backend=counter)
    for _ in range(2):
        model(torch.randn(2, 3, 4, 32, 32)).sum().backward()
    assert counter.frame_count == graphs


def test_compiled_blocks_give_the_same_gradients() -> None:
    torch.compiler.reset()
    plain, compiled = deep_vit(0.2).train(), deep_vit(0.2).train()
    compile_blocks(compiled, backend="aot_eager")
    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    for model in (plain, compiled):
        torch.manual_seed(1)  # which branches are dropped
        model(clip_BCTHW).sum().backward()
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)  # another order of the same sums


def test_what_training_compiled_is_tested_without() -> None:
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    model = deep_vit(0.0).eval()
    compile_blocks(model, backend=counter)
    clips_BCTHW = torch.randn(2, 3, 4, 32, 32)
    with torch.inference_mode(), compiled_only_if(False, model):
        model(clips_BCTHW)
    assert counter.frame_count == 0
    with torch.inference_mode():
        model(clips_BCTHW)
    assert counter.frame_count == 2  # patches and blocks


def test_a_pass_is_explained_without_the_compiler() -> None:
    """Which would leave no attention to be seen."""
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    model = build({"name": "linear"}).eval()
    compile_blocks(model, backend=counter)
    clip_CTHW = torch.randint(256, CLIP.shape[1:], dtype=torch.uint8)
    found = traced(model, clip_CTHW, "fp32", torch.device("cpu"))
    assert counter.frame_count == 0 and all(len(block.attention) == 1 for block in found.blocks)


@pytest.mark.parametrize("trained_compiled", [False, True])
def test_a_training_goes_on_as_it_was(trained_compiled: bool) -> None:
    """Compiled in a validation alone, it would not resume to the bits of one that goes on."""
    torch.compiler.reset()
    in_training, in_validation = (CompileCounterWithBackend("eager") for _ in range(2))
    model, clips_BCTHW = deep_vit(0.0), torch.randn(2, 3, 4, 32, 32)
    if trained_compiled:
        compile_blocks(model, backend=in_training)
    with suppress(KeyError), torch.no_grad(), compiled_only_if(True, model, backend=in_validation):
        model.eval()(clips_BCTHW)
        raise KeyError
    assert in_validation.frame_count == 2  # patches and blocks
    model.train()(clips_BCTHW).sum().backward()
    assert in_validation.frame_count == 2 and in_training.frame_count == 2 * trained_compiled


def test_a_smaller_last_batch_is_filled_up_and_cut_again() -> None:
    seen: list[int] = []

    def double(clips_BCTHW: torch.Tensor) -> torch.Tensor:
        seen.append(len(clips_BCTHW))
        return 2 * clips_BCTHW.flatten(1).float()

    for number, sizes in ((7, [3, 3, 3]), (8, [3, 3, 3]), (6, [3, 3])):
        clips = torch.randint(256, (number, 3, 2, 4, 4), dtype=torch.uint8)
        found = torch.cat([filled_up(double, 3)(part) for part in clips.split(3)])
        assert seen == sizes and torch.equal(found, double(clips))
        seen.clear()


@pytest.mark.slow
def test_a_compiled_test_gives_the_numbers_of_a_plain_one(clips: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "run", clips, train={"epochs": 1}))
    assert train.main(["--cfg", str(path), "optim.warmup_epochs=0", "test.batch_size=7"]) == 0
    plain, first = np.load(tmp_path / "run" / "predictions.npz"), results(tmp_path / "run")
    torch.compiler.reset()
    again = ["train.enable=false", "optim.warmup_epochs=0", "test.batch_size=7", "test.compile=true"]
    assert train.main(["--cfg", str(path), *again]) == 0
    compiled = np.load(tmp_path / "run" / "predictions.npz")
    # another order of the same float32 sums
    np.testing.assert_allclose(compiled["view_logits"], plain["view_logits"], rtol=1e-4, atol=1e-5)
    assert results(tmp_path / "run")["top1"] == first["top1"]
    video = next(clips.glob("test/*/*.mp4"))
    both = [Predictor.from_run(tmp_path / "run", "cpu", compile=wanted).logits(video) for wanted in (False, True)]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)
