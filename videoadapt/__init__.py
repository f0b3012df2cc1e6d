"""videoadapt: parameter-efficient video action recognition with frozen, VideoMAE-pretrained transformers.

docs/python.md shows how to use these names. They are imported when they are first used: `import videoadapt` is quick.
"""

import os
from logging import getLogger
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
logger = getLogger(__name__)  # of the whole package; only a command, or a run, says where it writes

# Threads of torch wait for one another some 450 times a step on the CPU. OpenMP reads, when torch is imported, how long they go
# round before they sleep; its own 300,000 rounds keep the cores from whoever else needs them (docs/benchmarks.md).
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "30000"

if TYPE_CHECKING:
    from videoadapt.api import (
        CheckpointError,
        Config,
        ConfigError,
        DataListError,
        DecodeError,
        FewShot,
        Prediction,
        Predictor,
        RunResult,
        VideoAdaptError,
        adapters,
        average_adapters,
        backbones,
        corrupt,
        create_model,
        datasets,
        decoders,
        few_shot_accuracy,
        load,
        load_config,
        loggers,
        losses,
        normalise,
        open_video,
        read_clip,
        register_adapter,
        register_backbone,
        register_dataset,
        register_decoder,
        register_logger,
        register_loss,
        register_sampler,
        run,
        samplers,
    )

__all__ = [
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataListError",
    "DecodeError",
    "FewShot",
    "Prediction",
    "Predictor",
    "RunResult",
    "VideoAdaptError",
    "adapters",
    "average_adapters",
    "backbones",
    "corrupt",
    "create_model",
    "datasets",
    "decoders",
    "few_shot_accuracy",
    "load",
    "load_config",
    "loggers",
    "losses",
    "normalise",
    "open_video",
    "read_clip",
    "register_adapter",
    "register_backbone",
    "register_dataset",
    "register_decoder",
    "register_logger",
    "register_loss",
    "register_sampler",
    "run",
    "samplers",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from videoadapt import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
