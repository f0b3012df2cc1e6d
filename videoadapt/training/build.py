"""From a run to its updater: model, objective, optimizer and learning rate as the config asks for them."""

from typing import cast

import torch

from videoadapt import distributed
from videoadapt.config.schema import OptimConfig
from videoadapt.data.batches import Schedule
from videoadapt.evaluation.of_labels import OF_LABELS
from videoadapt.models.autoencoder import MaskedAutoencoder
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compile_blocks
from videoadapt.models.memory import recompute_blocks
from videoadapt.models.sharding import divided_copy
from videoadapt.registry import LOSSES
from videoadapt.runs.checks import min_clips
from videoadapt.runs.class_sizes import clips_per_class
from videoadapt.runs.run import Run
from videoadapt.training.classification import Classification
from videoadapt.training.mixup import Mixup
from videoadapt.training.optimizer import build_optimizer
from videoadapt.training.reconstruction import Reconstruction, autoencoder_of
from videoadapt.training.schedules import OneCycle, Warmup, WarmupConstant, WarmupCosine, WarmupPolynomial, WarmupStep
from videoadapt.training.unequal import class_weights, logit_shifts
from videoadapt.training.updater import Objective, Updater
from videoadapt.training.weight_average import WeightAverage


def build_updater(run: Run, schedule: Schedule) -> Updater:
    """Return the run's updater at step 0. Raises ConfigError for a batch size, or an optimizer, that cannot be."""
    training, model = run.config.train, run.model
    if training.shard and distributed.world_size() > 1:
        model = cast(Classifier | MaskedAutoencoder, divided_copy(model, run.device))
    optimizer = build_optimizer(model, model.backbone, run.config.optim)
    average = WeightAverage(model, training.ema) if training.ema is not None else None
    if training.activation_checkpointing:
        recompute_blocks(model)
    if training.compile:
        compile_blocks(model)
    return Updater(
        model,
        build_objective(run),
        optimizer,
        build_learning_rate(run.config.optim, schedule),
        scaler=torch.amp.GradScaler(run.device.type, enabled=training.precision == "fp16"),
        clip_grad_norm=training.clip_grad_norm,
        average=average,
        min_clips=min_clips(run.config, distributed.world_size()),
        seed=run.config.seed,
    )


def build_objective(run: Run) -> Objective:
    """Return what `task` makes of a batch."""
    config = run.config
    precision, augment = config.train.precision, config.data.augment
    if config.task == "pretrain":
        autoencoder = autoencoder_of(run)
        return Reconstruction(
            autoencoder,
            config.pretrain.mask_ratio,
            decoder_mask_ratio=config.pretrain.decoder_mask_ratio,
            precision=precision,
            device=run.device,
        )
    mixup = Mixup(
        mixup_alpha=augment.mixup,
        cutmix_alpha=augment.cutmix,
        label_smoothing=augment.label_smoothing,
        cutmix_box=augment.cutmix_box,
        num_classes=len(run.splits.class_names),
    )
    loss = LOSSES.build(config.train.loss or {"name": OF_LABELS[config.data.labels].loss})
    clips_K = clips_per_class(config, run.splits.train, len(run.splits.class_names))
    return Classification(
        mixup,
        precision=precision,
        device=run.device,
        weights_K=class_weights(config.train.class_weights, clips_K),
        shifts_K=logit_shifts(config.train.logit_adjustment, clips_K),
        loss=loss,
        compiled=bool(config.train.compile),
    )


WITH_WARMUP: dict[str, type[Warmup]] = {
    "cosine": WarmupCosine,
    "constant": WarmupConstant,
    "step": WarmupStep,
    "polynomial": WarmupPolynomial,
}


def build_learning_rate(optim: OptimConfig, schedule: Schedule) -> Warmup | OneCycle:
    """Return the learning rate as a function of the step; the config's rates are per 256 videos of the global batch."""
    scale, arguments = schedule.batch_size / 256, optim.schedule.model_dump(exclude={"name"})
    arguments |= {
        "peak": optim.lr_per_256 * scale,
        "epochs": schedule.epochs,
        "steps_per_epoch": schedule.steps_per_epoch,
        "start": optim.warmup_lr_per_256 * scale,
        "minimum": optim.min_lr_per_256 * scale,
    }
    if optim.schedule.name == "one_cycle":
        return OneCycle(**arguments)
    return WITH_WARMUP[optim.schedule.name](
        **arguments, warmup_epochs=optim.warmup_epochs, peak_within=optim.warmup_peak == "within"
    )
