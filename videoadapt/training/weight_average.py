"""Exponential moving average of the trainable tensors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from videoadapt.models.parameters import trainable_state


class WeightAverage:
    """Keeps average <- decay * average + (1 - decay) * weights after every update; whole numbers are copied."""

    def __init__(self, model: nn.Module, decay: float):
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
        """Go on from a saved average."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Run the block with the average in the model's place."""
        own = trainable_state(self._model)
        saved = {name: tensor.clone() for name, tensor in own.items()}
        try:
            for name, tensor in own.items():
                tensor.copy_(self.state[name])
            yield
        finally:
            for name, tensor in own.items():
                tensor.copy_(saved[name])
