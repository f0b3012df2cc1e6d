"""Views of videos through a model, as many at a time as a batch of the run's test has room for.

Shapes: N clips and J crops of each, together V views, T frames, H W pixels, D width, K classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError
from videoadapt.inference.onnx_model import OnnxModel
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compile_blocks, filled_up
from videoadapt.models.memory import hold_matrices_in
from videoadapt.runs.forward import HALF_PRECISION, forward


class Passes:
    """uint8 views (N, J, 3, T, H, W) -> float32 on the CPU, of each view: its logits, what the head sees of it, or both."""

    def __init__(self, model: Classifier | OnnxModel, config: Config, device: torch.device, compile: bool = False):
        """`compile`: let torch.compile make the passes faster."""
        self.model = model
        self._config, self._device, self._compiled = config, device, compile
        self._largest = 0  # pass so far
        if isinstance(model, OnnxModel):
            return
        if half := HALF_PRECISION.get(config.train.precision):
            hold_matrices_in(model.backbone, half)
        if compile:
            compile_blocks(model)

    @property
    def classifier(self) -> Classifier:
        """The model's modules. Raises ConfigError for an ONNX file, which shows none."""
        if isinstance(self.model, OnnxModel):
            raise ConfigError(
                f"{self.model.path}: an ONNX file gives logits only; ask the run, or its adapter file, for what is inside"
            )
        return self.model

    def logits(self, views_NJCTHW: Tensor) -> Tensor:
        """(V, K)."""
        return self._of(self.model, views_NJCTHW)

    def features(self, views_NJCTHW: Tensor) -> Tensor:
        """(V, D). Raises ConfigError for an ONNX file."""
        return self._of(self.model.features, views_NJCTHW)

    def logits_and_features(self, views_NJCTHW: Tensor) -> Tensor:
        """(V, K + D), beside each other. Raises ConfigError for an ONNX file."""
        return self._of(self.classifier.logits_and_features, views_NJCTHW)

    def _of(self, function: Callable[[Tensor], Tensor], views_NJCTHW: Tensor) -> Tensor:
        views = views_NJCTHW.shape[0] * views_NJCTHW.shape[1]
        self._largest = max(self._largest, min(self._config.test.batch_size, views))
        called = filled_up(function, self._largest) if self._compiled else function
        if isinstance(self.model, OnnxModel):  # which normalises pixels itself
            parts = views_NJCTHW.flatten(0, 1).split(self._config.test.batch_size)
            return torch.cat([called(part) for part in parts])
        return in_batches(called, self._config, self._device, views_NJCTHW)


def in_batches(
    function: Callable[[Tensor], Tensor], config: Config, device: torch.device, views_NJCTHW: Tensor
) -> Tensor:
    """What `function` makes of each view, normalised and in the precision of the run: (V, ...), on the CPU."""
    parts = views_NJCTHW.flatten(0, 1).split(config.test.batch_size)
    return torch.cat([forward(function, part, config.train.precision, device).cpu() for part in parts])
