"""What is wrong with how a run trains: its optimizer, its learning rate over the epochs, and when it stops.

Every line names the key to change, its value, and what is allowed.
"""

from videoadapt.config.optimizers import optimizer_arguments
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError


def training_problems(config: Config) -> list[str]:
    """All of it, for a run that trains."""
    problems = [*_optimizer_problems(config), *_rate_problems(config), *_early_stop_problems(config)]
    if config.train.shard and config.train.precision == "fp16":
        problems.append(
            "train.shard = true: does not go with train.precision = fp16, whose scale each process would choose alone; "
            "use bf16 or fp32"
        )
    return problems


def _optimizer_problems(config: Config) -> list[str]:
    """Which of optim.options the optimizer does not take."""
    optim = config.optim
    try:
        optimizer_arguments(optim.name, optim.momentum, optim.betas, optim.options)
    except ConfigError as error:
        return error.problems
    return []


def _rate_problems(config: Config) -> list[str]:
    """What would keep the learning rate from rising to its peak and falling again."""
    optim, epochs = config.optim, config.train.epochs
    problems = [
        f"optim.{key} = {rate:g}: is above optim.lr_per_256 = {optim.lr_per_256:g}, which should be the highest rate"
        for key in ("warmup_lr_per_256", "min_lr_per_256")
        if (rate := getattr(optim, key)) > optim.lr_per_256
    ]
    if optim.schedule.name == "one_cycle" and optim.warmup_epochs > 0:
        problems.append(
            f"optim.warmup_epochs = {optim.warmup_epochs:g}: optim.schedule one_cycle has a warm-up of its own "
            f"(rise: {optim.schedule.rise:g}, a share of the training); set it to 0, or choose another schedule"
        )
    elif optim.warmup_epochs > epochs:
        problems.append(
            f"optim.warmup_epochs = {optim.warmup_epochs:g}: is longer than the training (train.epochs = {epochs}), so the "
            f"learning rate would never reach its peak; allowed: 0 to {epochs}"
        )
    if optim.schedule.name == "constant" and optim.min_lr_per_256 > 0:
        problems.append(
            f"optim.min_lr_per_256 = {optim.min_lr_per_256:g}: optim.schedule constant never falls; set it to 0, or choose "
            "another schedule"
        )
    return problems + _milestone_problems(config)


def _early_stop_problems(config: Config) -> list[str]:
    """What would keep train.stop_early from ever ending a training."""
    stop, epochs = config.train.stop_early, config.train.epochs
    if stop is None:
        return []
    if config.data.val is None:
        return [
            "train.stop_early: goes by a validation, and data.val is null; set data.val, or train.stop_early to null"
        ]
    if stop.patience_epochs >= epochs:
        return [
            f"train.stop_early.patience_epochs = {stop.patience_epochs}: is as long as the training (train.epochs = {epochs}), "
            f"which it could not end; allowed: less than {epochs}"
        ]
    return []


def _milestone_problems(config: Config) -> list[str]:
    """Which milestones of a step schedule would be passed in the warm-up, or after the training."""
    optim, epochs = config.optim, config.train.epochs
    if optim.schedule.name != "step":
        return []
    milestones = list(optim.schedule.milestones_epochs)
    wrong = [at for at in milestones if not optim.warmup_epochs <= at < epochs]
    if not wrong:
        return []
    return [
        f"optim.schedule.milestones_epochs = {milestones}: {wrong[0]:g} is not between the end of the "
        f"warm-up (optim.warmup_epochs = {optim.warmup_epochs:g}) and that of the training (train.epochs = {epochs})"
    ]
