"""The exponential moving average of what trains, which is often a little more accurate than the last weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from videoadapt.models.parameters import trainable_state
from videoadapt.models.sharding import part_of


class WeightAverage:
    """The average of the trainable parameters and the buffers of a model: state <- decay * state + (1 - decay) * weights.

    Buffers of whole numbers (BatchNorm's count of batches) are copied. `state` has the names of `trainable_state(model)`.
    """

    def __init__(self, model: nn.Module, decay: float):
        """Starts from the model's weights as they are now; `decay` is between 0 and 1."""
        self._model = model
        self._decay = decay
        self.state = {name: tensor.clone() for name, tensor in trainable_state(model).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        for name, tensor in trainable_state(self._model).items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1 - self._decay)
            else:
                self.state[name].copy_(tensor)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the `state` of an earlier average of the same model."""
        for name, tensor in self.state.items():
            tensor.copy_(part_of(state[name], tensor))

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Give the model the averaged weights during the block."""
        own = trainable_state(self._model)
        saved = {name: tensor.clone() for name, tensor in own.items()}
        try:
            for name, tensor in own.items():
                tensor.copy_(self.state[name])
            yield
        finally:
            for name, tensor in own.items():
                tensor.copy_(saved[name])
