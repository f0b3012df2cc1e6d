"""One update on any model, without a run: the step, its parts in their order, and the state that it resumes from."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from videoadapt import distributed
from videoadapt.data.structures import ClipBatch
from videoadapt.errors import CheckpointError, Diverged
from videoadapt.runs.checkpoint import load_checkpoint, save_checkpoint
from videoadapt.training.classification import Classification
from videoadapt.training.mixup import Mixup
from videoadapt.training.updater import Updater, _to_processor
from videoadapt.training.weight_average import WeightAverage
from videoadapt.video.boxes import EraseBox

NUM_CLASSES = 5


class Net(nn.Module):
    """A frozen layer, statistics, dropout and a head: everything that an update treats in its own way."""

    def __init__(self, dropout: float = 0.0, batch_norm: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Conv3d(3, 4, (2, 4, 4), stride=(2, 4, 4)).requires_grad_(False)
        self.norm = nn.BatchNorm1d(16) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, NUM_CLASSES)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(self.backbone(clips_BCTHW).flatten(1))))


def batch_of(size: int, seed: int = 0) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(256, (size, 3, 2, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(NUM_CLASSES, (size,), generator=generator)
    return ClipBatch(clips, labels, tuple(f"clip {seed}-{i}" for i in range(size)), (None,) * size)


def parts(batch: ClipBatch, *sizes: int) -> list[ClipBatch]:
    """The batch in micro-batches of these sizes."""
    fields = (batch.clips_BCTHW.split(sizes), batch.labels_B.split(sizes))
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    ids = [batch.video_ids[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return [
        ClipBatch(c, y, names, (None,) * len(names)) for c, y, names in zip(*fields, ids, strict=True) if c is not None
    ]


def objective(mixup_alpha: float = 0.0) -> Classification:
    return Classification(Mixup(mixup_alpha=mixup_alpha, cutmix_alpha=0, label_smoothing=0, num_classes=NUM_CLASSES))


def sgd_updater(model: nn.Module, lr: float = 0.1, **options: Any) -> Updater:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    chosen = {"objective": objective(), "learning_rate": lambda step: lr, **options}
    return Updater(model, optimizer=torch.optim.SGD(trained, lr=0.0), **chosen)


def fp16_scaler(scale: float) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)


def test_a_step_is_that_of_the_optimizer() -> None:
    """Against the same step by hand, with the learning rate of its number."""
    model, batch = Net(), batch_of(6)
    by_hand = copy.deepcopy(model)
    updater = sgd_updater(model, learning_rate=lambda step: 0.1 * (step + 1))
    for lr in (0.1, 0.2):
        means = updater.update([batch])
        pixels = (batch.clips_BCTHW / 255 - torch.tensor([0.485, 0.456, 0.406]).view(-1, 1, 1, 1)) / torch.tensor(
            [0.229, 0.224, 0.225]
        ).view(-1, 1, 1, 1)
        logits = by_hand(pixels)
        loss = nn.functional.cross_entropy(logits, batch.labels_B)
        gradients = torch.autograd.grad(loss, list(by_hand.head.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.head.parameters(), gradients, strict=True):
                parameter -= lr * gradient
        assert means["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert means["top1"] == pytest.approx(100 * (logits.argmax(1) == batch.labels_B).float().mean().item())
    assert updater.step == 2 and list(means) == ["loss", "top1"]
    torch.testing.assert_close(model.state_dict(), by_hand.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [(4, 4), (1, 1, 1, 5)], ids=str)
def test_micro_batches_make_one_batch(sizes: tuple[int, ...]) -> None:
    """Means are over clips: micro-batches of several sizes, as files that cannot be read leave them, weigh what they hold."""
    whole, cut = Net(), Net()
    one, other = sgd_updater(whole), sgd_updater(cut)
    for step in range(3):
        expected, found = one.update([batch_of(8, step)]), other.update(parts(batch_of(8, step), *sizes))
        assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(cut.state_dict(), whole.state_dict(), rtol=1e-5, atol=1e-6)


def test_any_model_and_any_objective_train() -> None:
    """What a notebook writes: a model and a function, nothing else of this package."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 8 * 8, 1))

    def brightness(model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        pixels = batch.clips_BCTHW / 255
        return {"loss": (model(pixels)[:, 0] - pixels.mean(dim=(1, 2, 3, 4))).square().sum()}

    updater = Updater(model, brightness, torch.optim.AdamW(model.parameters()), lambda step: 2e-3)
    losses = [updater.update([batch_of(8, seed % 4)])["loss"] for seed in range(100)]
    assert losses[-1] < losses[0] / 20


@pytest.mark.parametrize("scale", [None, 64.0])
def test_gradients_are_clipped_to_the_norm(scale: float | None) -> None:
    """To that of the gradients themselves, not of what a scaler makes of them."""
    model = Net()
    before = model.head.weight.detach().clone(), model.head.bias.detach().clone()
    updater = sgd_updater(model, lr=1.0, clip_grad_norm=0.01, scaler=fp16_scaler(scale) if scale else None)
    updater.update(parts(batch_of(8), 4, 4))
    moved = [new - old for new, old in zip((model.head.weight, model.head.bias), before, strict=True)]
    assert torch.cat([change.flatten() for change in moved]).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_the_average_follows_after_the_step() -> None:
    model = Net(batch_norm=True)
    updater = sgd_updater(model, average=(average := WeightAverage(model, 0.75)))
    expected = model.head.weight.detach().clone()
    for step in range(3):
        model.eval()  # as a validation leaves it
        updater.update([batch_of(8, step)])
        expected = 0.75 * expected + 0.25 * model.head.weight.detach()
    torch.testing.assert_close(average.state["head.weight"], expected)
    assert average.state["norm.num_batches_tracked"] == 3 and "backbone.weight" not in average.state


def test_a_loss_that_is_not_finite_names_step_and_clips() -> None:
    """And leaves the weights as they were, also when only one micro-batch is bad."""
    model = Net()
    updater = sgd_updater(model, average=WeightAverage(model, 0.9))
    updater.update([batch_of(2)])
    before = copy.deepcopy(model.state_dict())

    def bad_second(model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        sums = objective()(model, batch, generator)
        return {**sums, "loss": sums["loss"] * (torch.nan if "clip 2-0" in batch.video_ids else 1)}

    updater.objective = bad_second
    match = r"^step 1: the loss is nan; clips of this batch: clip 1-0, clip 1-1, clip 2-0\."
    with pytest.raises(Diverged, match=match) as error:
        updater.update([batch_of(2, 1), batch_of(1, 2)])
    assert (error.value.step, error.value.phase) == (1, "training")
    assert updater.step == 1 and all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def steep_at_zero(model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
    """A finite loss whose gradient is NaN: the slope of a root at 0 is infinite, and is multiplied by 0."""
    sums = objective()(model, batch, generator)
    return {**sums, "loss": sums["loss"] + (0 * sums["loss"]).sqrt()}


@pytest.mark.parametrize("clip_grad_norm", [None, 1.0])
def test_weights_that_are_not_finite_are_not_handed_out(clip_grad_norm: float | None) -> None:
    updater = sgd_updater(Net(), clip_grad_norm=clip_grad_norm)
    updater.update([batch_of(2)])
    updater.state()
    updater.objective = steep_at_zero
    assert updater.update([batch_of(2, 1)])["loss"] < 10
    with pytest.raises(Diverged, match=r"^step 2: the losses were finite, .*\(head\.weight for one\)") as error:
        updater.state()
    assert (error.value.step, error.value.phase) == (2, "training")


@pytest.mark.parametrize("sizes", [(0, 8), (1, 7)], ids=str)
def test_too_few_clips_for_batch_norm_skip_the_update(sizes: tuple[int, ...], log_lines: list[str]) -> None:
    model = Net(batch_norm=True)
    updater = sgd_updater(model, min_clips=2)
    before = copy.deepcopy(model.state_dict())
    assert updater.update(parts(batch_of(8), *sizes)) == {"skipped": 1.0}
    assert updater.step == 1 and log_lines == ["WARNING step 0: too few readable clips for an update; skipped"]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert "loss" in updater.update(parts(batch_of(8), 2, 6))


def test_draws_depend_on_seed_step_and_part_only() -> None:
    """Dropout and the objective's generator: neither what was drawn before nor the global generator matters."""

    def drawn(seed: int, skipped_steps: int) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []

        def watch(model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
            found.append((torch.rand(()).item(), torch.rand((), generator=generator).item()))
            return objective()(model, batch, generator)

        updater = sgd_updater(Net(), objective=watch, seed=seed)
        for _ in range(3 - skipped_steps):
            torch.rand(updater.step + seed)
            updater.update([batch_of(2), batch_of(2)])
        updater.step = 3
        torch.manual_seed(99)
        updater.update([batch_of(2), batch_of(2)])
        return found

    whole = drawn(seed=7, skipped_steps=0)
    assert drawn(seed=7, skipped_steps=3) == whole[-2:]
    assert len({value for pair in whole for value in pair}) == 16  # another value each time
    assert not {value for pair in drawn(seed=8, skipped_steps=3) for value in pair} & {
        v for pair in whole for v in pair
    }


def test_an_overflow_is_skipped_and_lowers_the_scale() -> None:
    """The scaler's part of the step: a gradient that is infinite only because of the scale changes nothing else."""

    def steep(model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": 1000 * objective()(model, batch, generator)["loss"]}

    model = Net()
    updater = sgd_updater(model, scaler=fp16_scaler(3e38), clip_grad_norm=1.0, objective=steep)
    before = copy.deepcopy(model.state_dict())
    assert updater.update([batch_of(8)])["loss"] < 1e4
    assert updater.scaler.get_scale() == pytest.approx(1.5e38) and updater.step == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    plain, scaled = Net(), Net()
    one, other = sgd_updater(plain), sgd_updater(scaled, scaler=fp16_scaler(1024.0))
    for step in range(2):
        assert other.update([batch_of(8, step)]) == one.update([batch_of(8, step)])
    torch.testing.assert_close(scaled.state_dict(), plain.state_dict())
    assert other.scaler.get_scale() == 2048.0


def full_updater(width: int = 16, optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW) -> Updater:
    """Everything on that has a state or draws numbers."""
    model = Net(dropout=0.3, batch_norm=True)
    if width != 16:
        model.head = nn.Linear(width, NUM_CLASSES)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Updater(
        model,
        objective(mixup_alpha=0.8),
        optimizer(trained, lr=0.0),
        lambda step: 0.01 / (1 + step),
        scaler=fp16_scaler(256.0),
        clip_grad_norm=1.0,
        average=WeightAverage(model, 0.5),
        seed=3,
    )


def bits(value: Any) -> Any:
    """Nested state with tensors as bytes, to be compared with ==."""
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [bits(part) for part in value]
    return (value.dtype, value.numpy().tobytes()) if isinstance(value, Tensor) else value


@pytest.mark.parametrize("stopped_at", [1, 4])
def test_a_restored_updater_continues_to_the_same_bits(stopped_at: int, tmp_path: Path) -> None:
    whole, path = full_updater(), tmp_path / "step.pt"
    means = [whole.update(parts(batch_of(8, step), 4, 4)) for step in range(7)]
    first = full_updater()
    for step in range(stopped_at):
        first.update(parts(batch_of(8, step), 4, 4))
    save_checkpoint(path, first.state())
    resumed = full_updater()
    resumed.restore(load_checkpoint(path), path)
    assert resumed.step == stopped_at
    again = [resumed.update(parts(batch_of(8, step), 4, 4)) for step in range(stopped_at, 7)]
    assert again == means[stopped_at:]
    assert bits(resumed.state()) == bits(whole.state())
    assert whole.scaler.get_scale() > 256  # it grows, so that its state matters


def test_a_run_without_an_average_can_get_one(tmp_path: Path) -> None:
    """It then starts from the weights."""
    updater, other = full_updater(), full_updater()
    updater.update([batch_of(8)])
    other.restore({**updater.state(), "ema": None}, tmp_path / "x.pt")
    assert other.average is not None
    assert bits(other.average.state) == bits(updater.state()["model"])


def test_a_state_of_another_model_or_optimizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.pt"
    state = full_updater().state()
    with pytest.raises(
        CheckpointError, match=r"step_00000001.pt: does not fit this model: head.weight: \(5, 16\) in the"
    ):
        full_updater(width=8).restore(state, path)
    with pytest.raises(
        CheckpointError,
        match=r"step_00000001.pt: .*optim.name, options that add moments, train.freeze, and optim.layer",
    ):
        full_updater(optimizer=torch.optim.SGD).restore(state, path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_an_update_waits_for_its_loss_alone() -> None:
    device = torch.device("cuda")
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=NUM_CLASSES)
    model = Net(dropout=0.1, batch_norm=True).to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    updater = Updater(
        model, Classification(mixup, precision="bf16", device=device), torch.optim.AdamW(trained), lambda step: 1e-3,
        clip_grad_norm=1.0, average=WeightAverage(model, 0.9),
    )  # fmt: skip
    box = EraseBox(seed=1, top=1, left=2, height=3, width=4)
    batches = [replace(batch, erase=(box,) * len(batch.labels_B)) for batch in parts(batch_of(12), 4, 4, 4)]
    updater.update(batches)  # the first makes the optimizer's state
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            updater.update(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "synchronizing" in str(warning.message)]
    assert not waits, waits  # that for the copy of the loss, which an event ends, is none of the whole device


def halves(step: int) -> list[list[ClipBatch]]:
    """Each rank's micro-batches of one batch, in sizes as files that cannot be read leave them."""
    cut = parts(batch_of(8, step), 1, 3, 2, 2)
    return [cut[:2], cut[2:]]


def rank_of_a_batch(rank: int, folder: Path) -> None:
    """Two updates, what is drawn in a third, one with too few clips on rank 1, and one that is not finite there."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    updater = sgd_updater(Net(), min_clips=1)
    means = [updater.update(halves(step)[rank]) for step in range(2)]
    weights, drawn = copy.deepcopy(updater.model.state_dict()), []

    def watch(model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        drawn.extend([torch.rand(()).item(), torch.rand((), generator=generator).item()])
        bad = torch.nan if "clip 4-5" in batch.video_ids else 1
        return {"loss": objective()(model, batch, generator)["loss"] * bad}

    updater.objective = watch
    updater.update(halves(2)[rank])
    updater.min_clips = 2
    skipped = updater.update(parts(batch_of(8, 3), 4, 3, 1)[:1] if rank == 0 else parts(batch_of(8, 3), 7, 1)[1:])
    updater.min_clips = 1
    try:
        updater.update(halves(4)[rank])
        said = ""
    except Diverged as error:
        said = str(error)
    torch.save((means, weights, drawn, skipped, said), folder / f"rank{rank}.pth")
    dist.barrier()
    distributed.leave_group()


@pytest.mark.slow
def test_two_ranks_make_one_batch(tmp_path: Path) -> None:
    mp.spawn(rank_of_a_batch, (tmp_path,), nprocs=2)
    found = [torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2)]
    updater = sgd_updater(Net())
    expected = [updater.update([batch_of(8, step)]) for step in range(2)]
    for means, weights, _, skipped, said in found:
        assert means == [pytest.approx(one, rel=1e-5) for one in expected] and skipped == {"skipped": 1.0}
        torch.testing.assert_close(weights, updater.model.state_dict(), rtol=1e-5, atol=1e-6)
        assert said.startswith("step 4: the loss is nan") and all(f"clip 4-{clip}" in said for clip in range(8))
    assert found[0][0] == found[1][0]
    drawn = [value for _, _, values, _, _ in found for value in values]
    assert len(set(drawn)) == len(drawn) == 16  # two ranks, steps and micro-batches: dropout's and the objective's


def rank_with_an_odd_weight(rank: int, folder: Path) -> None:
    """What must not hang: one rank alone sees a weight that is not finite."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    updater = sgd_updater(Net())
    updater.update([batch_of(4, rank)])
    if rank == 1:
        updater.model.head.bias.data[0] = torch.inf
    try:
        updater.state()
        said = ""
    except Diverged as error:
        said = str(error)
    (folder / f"rank{rank}.txt").write_text(said)
    dist.barrier()
    distributed.leave_group()


@pytest.mark.slow
def test_all_ranks_refuse_weights_that_are_not_finite(tmp_path: Path) -> None:
    mp.spawn(rank_with_an_odd_weight, (tmp_path,), nprocs=2)
    for rank in range(2):
        assert "(head.bias for one)" in (tmp_path / f"rank{rank}.txt").read_text()


def rank_of_two(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    model = Net(batch_norm=True)
    average = WeightAverage(model, 0.5)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    updater = Updater(model, objective(), optimizer, lambda step: 0.1, average=average)
    for step in range(3):
        updater.update([batch_of(4, seed=10 * step + rank)])
    torch.save((model.norm.state_dict(), average.state), folder / f"rank{rank}.pth")
    dist.barrier()  # gloo aborts a process whose partner leaves while it still talks
    distributed.leave_group()


@pytest.mark.slow
def test_all_ranks_hold_the_statistics_that_are_saved(tmp_path: Path) -> None:
    """A validation asks every rank, a checkpoint holds rank 0's statistics, and a resume gives them to all."""
    mp.spawn(rank_of_two, (tmp_path,), nprocs=2)
    (norm, average), (other_norm, other_average) = (torch.load(tmp_path / f"rank{rank}.pth") for rank in range(2))
    assert norm["running_mean"].abs().max() > 0
    for one, other in ((norm, other_norm), (average, other_average)):
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name


def test_a_copy_is_waited_for_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event in the stream of the current GPU, which is another one, would come before the copy."""
    recorded: list[object] = []

    class Event:
        def record(self, stream: object = "of the current GPU") -> None:
            recorded.append(stream)

        def synchronize(self) -> None:
            recorded.append("waited")

    class OnSecondGpu:
        is_cuda, device = True, torch.device("cuda", 1)

        def to(self, device: str, non_blocking: bool) -> Tensor:
            return torch.tensor([3.0])

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: device)
    arrived = _to_processor(OnSecondGpu())  # type: ignore[arg-type]
    assert recorded == [OnSecondGpu.device]
    assert arrived().tolist() == [3.0] and recorded[1:] == ["waited"]
