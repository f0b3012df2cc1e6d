"""videoadapt: parameter-efficient video action recognition with frozen, VideoMAE-pretrained transformers.

docs/python.md shows how to use these names. They are imported when they are first used: `import videoadapt` is quick.
"""

from logging import getLogger
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
logger = getLogger(__name__)  # of the whole package; only a command, or a run, says where it writes

if TYPE_CHECKING:
    from videoadapt.api import (
        CheckpointError,
        Config,
        ConfigError,
        DataListError,
        DecodeError,
        Prediction,
        Predictor,
        RunResult,
        VideoAdaptError,
        adapters,
        backbones,
        create_model,
        datasets,
        decoders,
        load,
        load_config,
        normalise,
        open_video,
        read_clip,
        register_adapter,
        register_backbone,
        register_dataset,
        register_decoder,
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
    "Prediction",
    "Predictor",
    "RunResult",
    "VideoAdaptError",
    "adapters",
    "backbones",
    "create_model",
    "datasets",
    "decoders",
    "load",
    "load_config",
    "normalise",
    "open_video",
    "read_clip",
    "register_adapter",
    "register_backbone",
    "register_dataset",
    "register_decoder",
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
