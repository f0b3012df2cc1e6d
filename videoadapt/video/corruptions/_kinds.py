"""What a corruption is: a function on the frames of one film, with a level for each of its strengths.

Shapes: T frames, H W pixels.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Apply = Callable[[Frames, Any, np.random.Generator], Frames]


class Kind(NamedTuple):
    """`apply(frames_THWC, level, rng)` gives as many frames of the same size; what it draws holds for the whole film, but for
    noise, which is new in each frame.

    `levels` are those of strength 1 and up: five, or one for what has no grades. `in_time`: a frame depends on its
    neighbours, so that consecutive ones are needed. `keeps_label`: False for what may change the right answer.
    """

    name: str
    family: str
    levels: tuple[Any, ...]
    apply: Apply
    in_time: bool
    keeps_label: bool


REGISTERED: defaultdict[str, list[Kind]] = defaultdict(list)  # by the module of their family


def kind(*levels: Any, in_time: bool = False, keeps_label: bool = True) -> Callable[[Apply], Apply]:
    """Decorate the function of a kind, whose name is the kind's and whose file is its family."""

    def register(apply: Apply) -> Apply:
        name, family = apply.__name__, apply.__module__.rpartition(".")[2]
        REGISTERED[apply.__module__].append(Kind(name, family, levels, apply, in_time, keeps_label))
        return apply

    return register


def whole_levels(pixels: NDArray[np.floating]) -> Frames:
    """Grey levels from 0 to 255, cut off to whole ones as the published code does."""
    return np.clip(pixels, 0, 255).astype(np.uint8)
