"""One update of the weights: the same numbers whatever the workers or the interruptions; ranks draw dropout of their own."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from videoadapt import distributed, logger
from videoadapt.data.structures import ClipBatch
from videoadapt.errors import CheckpointError, Diverged
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.models.sharding import exchange_gradients, is_divided, whole
from videoadapt.runs.seeds import hash_seed
from videoadapt.training.optimizer import optimizer_state, restore_optimizer, set_learning_rate
from videoadapt.training.weight_average import WeightAverage

_ADVICE = (
    "Lower the learning rate (in a config optim.lr_per_256), clip the gradients (train.clip_grad_norm), "
    "or compute in bf16 or fp32 (train.precision)"
)


def _to_processor(values_V: Tensor) -> Callable[[], Tensor]:
    """Begin to copy values from their device; what is returned waits for the copy alone, not for later work."""
    if not values_V.is_cuda:
        return lambda: values_V
    copied_V = values_V.to("cpu", non_blocking=True)  # into pinned memory
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(values_V.device))  # which need not be that of the current device

    def wait() -> Tensor:
        arrived.synchronize()
        return copied_V

    return wait


class Objective(Protocol):
    """What a task makes of a batch: `Classification`, `Reconstruction`, or any function like it."""

    def __call__(self, model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return sums over the clips of the batch by name, scalars: `loss`, whose gradient is taken, and any others.

        `model` is the updater's, ready for several processes. All random choices come from `generator`.
        """


class Updater:
    """Takes optimizer steps, and holds all that they change: weights, their average, optimizer, gradient scaler, `step`.

    Inside a process group every rank has an updater, and calls it with its own part of the global batch.

    ```
    learning_rate = WarmupCosine(peak=1e-3, epochs=10, steps_per_epoch=100)
    updater = Updater(model, objective, torch.optim.AdamW(model.parameters()), learning_rate)
    updater.update([batch])  # {"loss": 2.08, "top1": 12.5}
    ```
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        learning_rate: Callable[[int], float],
        *,
        scaler: torch.amp.GradScaler | None = None,
        clip_grad_norm: float | None = None,
        average: WeightAverage | None = None,
        min_clips: int = 1,
        seed: int = 0,
    ):
        """`learning_rate` is a function of the step, from 0; a parameter group with an `lr_scale` gets that share of it.

        `scaler` is for losses computed in fp16; `clip_grad_norm` is the largest norm of all gradients together; `min_clips` is
        what a micro-batch needs for a forward pass. Dropout and what the objective draws depend on (seed, step, rank) only.
        """
        self.model, self.objective, self.optimizer, self.learning_rate = model, objective, optimizer, learning_rate
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.clip_grad_norm, self.average, self.min_clips, self.seed = clip_grad_norm, average, min_clips, seed
        self.step = 0
        self._wrapped = model
        if distributed.is_active() and not is_divided(model):
            device = next(model.parameters()).device
            self._wrapped = DistributedDataParallel(
                model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
            )

    def update(self, micro_batches: Sequence[ClipBatch]) -> dict[str, float]:
        """Take one optimizer step over the global batch, whose gradients are accumulated over this rank's `micro_batches`.

        Returns the means over all clips of all ranks of what the objective sums. Where a micro-batch of any rank has fewer than
        `min_clips` clips it returns `{"skipped": 1.0}`: the step counts, and nothing changes. Raises Diverged, naming the
        clips, when the loss is not finite: the weights are then as before.
        """
        set_learning_rate(self.optimizer, self.learning_rate(self.step))
        sizes = torch.tensor([float(len(batch.labels_B)) for batch in micro_batches])
        num_clips = float(distributed.all_reduce(sizes.sum()))
        if float(distributed.all_reduce(sizes.min(), "min")) < self.min_clips:
            logger.warning("step %d: too few readable clips for an update; skipped", self.step)
            self.step += 1
            return {"skipped": 1.0}

        self._wrapped.train()
        torch.manual_seed(hash_seed(self.seed, self.step, distributed.rank()))  # dropout and drop path
        totals: dict[str, Tensor] = {}  # on the device, so that the program waits for it once an update
        on_its_way: Callable[[], Tensor] | None = None
        for number, batch in enumerate(micro_batches):
            seed = hash_seed(self.seed, self.step, distributed.rank(), number, 1)
            is_last = number == len(micro_batches) - 1
            with self._gradients_summed_over_ranks(is_last):
                sums = self.objective(self._wrapped, batch, torch.Generator().manual_seed(seed))
                found = {name: value.detach().double() for name, value in sums.items()}
                totals = {name: totals[name] + value for name, value in found.items()} if totals else found
                if is_last:  # before the backward pass, during which a GPU's program goes on to the next update
                    on_its_way = _to_processor(torch.stack(list(totals.values())))
                # DistributedDataParallel divides by the number of ranks: this makes the mean over all clips of it
                self.scaler.scale(sums["loss"] * (distributed.world_size() / num_clips)).backward()
        assert on_its_way is not None, "an update needs a micro-batch"
        means_V = distributed.all_reduce(on_its_way()) / num_clips
        means = dict(zip(totals, means_V.tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            raise self._not_finite(means["loss"], micro_batches)

        if self.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(trained, self.clip_grad_norm)
        self.scaler.step(self.optimizer)  # does nothing where an fp16 gradient overflowed ...
        self.scaler.update()  # ... and then scales the next loss by less
        self.optimizer.zero_grad(set_to_none=True)
        self._share_statistics()
        if self.average is not None:
            self.average.update()
        self.step += 1
        return means

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs in order to continue from here: tensors and plain values. All ranks call it.

        Raises Diverged on all of them where a trained weight is not finite: such a state is none to continue from.
        """
        state: dict[str, Any] = whole(
            {
                "step": self.step,
                "model": trainable_state(self.model),
                "ema": self.average.state if self.average is not None else None,
                "optimizer": optimizer_state(self.optimizer),
                "scaler": self.scaler.state_dict(),
            }
        )
        self._check_finite(state["model"])
        return state

    @contextmanager
    def weights_in(self, model: nn.Module, device: torch.device, *, averaged: bool = False) -> Iterator[None]:
        """Let `model` have the present weights, or their average where there is one, on `device` during the block.

        It is what this updater trains, or that of which it trains a divided copy, and which is in main memory otherwise. All
        ranks call it.
        """
        with self.average.swapped_in() if averaged and self.average is not None else nullcontext():
            self.hand_over(model, device)
            yield
        if model is not self.model:
            model.to("cpu")

    @torch.no_grad()
    def hand_over(self, model: nn.Module, device: torch.device) -> None:
        """Give the present weights to `model`, of which a divided copy is trained, and move it to `device`."""
        if model is self.model:
            return
        own = trainable_state(model)
        for name, tensor in whole(trainable_state(self.model)).items():
            own[name].copy_(tensor)
        model.to(device)

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Continue from a `state` read from `path`. Raises CheckpointError when it does not fit the model or the optimizer."""
        ours = trainable_state(self.model).keys()
        load_trainable_state(self.model, state["model"], path)
        if new := trainable_state(self.model).keys() - ours:
            raise CheckpointError(
                f"{path}: holds what only an older version trains ({', '.join(sorted(new))}); test it or predict with it, and "
                "train in another `output`"
            )
        restore_optimizer(self.optimizer, state["optimizer"], path)
        if state["scaler"]:  # empty when it was saved in another precision
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.restore(state["ema"] or state["model"])
        self.step = state["step"]

    def _check_finite(self, weights: dict[str, Tensor]) -> None:
        """Refuse whole `weights` of which a trained one is not finite.

        A gradient can be NaN beside a finite loss, and `update` hears of it at the next loss only: to ask each gradient would
        have the program wait for the device once more a step.
        """
        trained = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        bad = [name for name in trained if not bool(weights[name].isfinite().all())]
        if names := [name for part in distributed.all_gather_objects(bad[:1]) for name in part]:
            raise Diverged(
                self.step,
                "training",
                f"the losses were finite, but the weights are not any more ({names[0]} for one): a gradient was not. {_ADVICE}",
            )

    def _share_statistics(self) -> None:
        """Give all ranks rank 0's statistics of BatchNorm, of which a checkpoint holds one copy."""
        if distributed.is_active():
            for module in self.model.modules():
                if isinstance(module, _BatchNorm):
                    for buffer in module.buffers():
                        torch.distributed.broadcast(buffer, 0)

    def _gradients_summed_over_ranks(self, now: bool) -> AbstractContextManager[Any]:
        """Let the backward passes in the block communicate, or only accumulate on this rank."""
        exchange_gradients(self._wrapped, now)
        if now or not isinstance(self._wrapped, DistributedDataParallel):
            return nullcontext()
        return self._wrapped.no_sync()

    def _not_finite(self, loss: float, micro_batches: Sequence[ClipBatch]) -> Diverged:
        mine = [name for batch in micro_batches for name in batch.video_ids]
        names = [name for part in distributed.all_gather_objects(mine) for name in part]
        return Diverged(
            self.step,
            "training",
            f"the loss is {loss}; clips of this batch: {', '.join(names)}. {_ADVICE}",
        )
