"""What adapters changed in a backbone: the size of their branches, features before and after, tokens that moved.

Shapes: B clips, T frames, H W pixels; N tokens, D width.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from videoadapt.data.structures import Unreadable, Video
from videoadapt.errors import ConfigError, DecodeError, counted
from videoadapt.inference.predictor import Predictor
from videoadapt.log import only_warnings, progress
from videoadapt.models.adapters import AdapterModule
from videoadapt.models.adapters.ssf import ScaleShift
from videoadapt.models.classifier import Classifier
from videoadapt.runs.build import build_seeded_model
from videoadapt.runs.build_data import build_view_reader
from videoadapt.runs.forward import forward


class LinearCKA:
    """||Y'X||^2 / (||X'X|| ||Y'Y||) of centred features, Frobenius norms: equation 4 of arXiv 1905.00414, a part at a time.

    1 where Y is X turned, scaled or shifted.
    """

    def __init__(self) -> None:
        self._count, self._sums, self._products = 0, list[Tensor](), list[Tensor]()

    def add(self, x_MD: Tensor, y_ME: Tensor) -> None:
        """Take more rows: the same examples in both."""
        x, y = x_MD.double(), y_ME.double()
        sums, products = [x.sum(0), y.sum(0)], [y.T @ x, x.T @ x, y.T @ y]
        self._count += len(x)
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else sums
        self._products = [a + b for a, b in zip(self._products, products, strict=True)] if self._products else products

    def value(self) -> float:
        """Of all rows so far; nan where features do not vary."""
        (x, y), (yx, xx, yy), n = self._sums, self._products, self._count
        cross, of_x, of_y = yx - torch.outer(y, x) / n, xx - torch.outer(x, x) / n, yy - torch.outer(y, y) / n
        return float(cross.square().sum() / (of_x.norm() * of_y.norm()))


@dataclass
class BlockEffect:
    """What was seen in a block: `ratios` by the place of an adapter in it, `cka` of its tokens, how much they `moved`."""

    trained: int
    ratios: dict[str, list[float]] = field(default_factory=dict)
    cka: LinearCKA = field(default_factory=LinearCKA)
    moved: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For inspect.json: medians over videos."""
        ratios = {name: round(float(np.median(values)), 5) for name, values in self.ratios.items()}
        moved = round(float(np.median(self.moved)), 5)
        return {
            "trained_parameters": self.trained,
            "branch_ratio": ratios,
            "cka": round(self.cka.value(), 5),
            "moved": moved,
        }


@dataclass
class Moved:
    """A clip, uint8 (T, H, W, 3), and how far the tokens that leave its last block have moved, (t, h, w): 1 - cosine."""

    video: str
    clip_THWC: np.ndarray
    moved_thw: np.ndarray


class Effects(NamedTuple):
    """Of each block what was seen in it, the clips to show, and the videos that could not be read."""

    blocks: list[BlockEffect]
    shown: list[Moved]
    unreadable: list[Unreadable]


def measure(predictor: Predictor, videos: Sequence[Video], num_shown: int = 4) -> Effects:
    """Look at one view of each video (its middle) with the trained model, and with its backbone as it was before.

    `num_shown` clips of them are to be shown, spread over the list, which is often one class after the other.
    Ratio: the median over tokens of ||adapter(x)|| / ||branch(x)||, of one that follows a layer ||adapter(h) - h|| / ||h||.
    Raises ConfigError for a backbone without blocks, and DecodeError where no video can be read.
    """
    after, before = predictor.classifier, untrained(predictor)
    blocks = [BlockEffect(_trained(block)) for block in _blocks(after)]
    reader = build_view_reader(predictor.config.data.model_copy(update={"cache": "off"}), 1, 1)
    shown: list[Moved] = []
    unreadable: list[Unreadable] = []
    with progress("inspect", len(videos), "videos") as line, torch.no_grad():
        for number, video in enumerate(videos):
            try:
                views_JCTHW = reader.with_notes(video.path, video.part)[0][0]
            except DecodeError as error:
                unreadable.append(Unreadable(number, video, str(error)))
                line.advance()
                continue
            noted: dict[tuple[int, str], float] = {}
            with _ratios_noted(after, noted):
                adapted = _tokens(predictor, after, views_JCTHW)
            plain = _tokens(predictor, before, views_JCTHW)
            for (block, place), ratio in noted.items():
                blocks[block].ratios.setdefault(place, []).append(ratio)
            for effect, x, y in zip(blocks, plain, adapted, strict=True):
                effect.cka.add(x.flatten(0, -2), y.flatten(0, -2))
                effect.moved.append(float(_distance(x, y).median()))
            is_due = len(shown) < num_shown and number >= len(shown) * len(videos) // num_shown
            if is_due and (where := _where(after, _distance(plain[-1], adapted[-1]))) is not None:
                shown.append(Moved(video.id, views_JCTHW[0].permute(1, 2, 3, 0).numpy(), where))
            line.advance()
    if len(unreadable) == len(videos):
        raise DecodeError(f"none of {counted(len(videos), 'video')} can be read, first: {unreadable[0].reason}")
    return Effects(blocks, shown, unreadable)


def untrained(predictor: Predictor) -> Classifier:
    """The same backbone with the weights that the training began with, without adapters."""
    model = predictor.config.model.model_copy(update={"adapter": {"name": "linear"}})
    with torch.random.fork_rng(), only_warnings():  # the same weights as of the run
        built = build_seeded_model(predictor.config.model_copy(update={"model": model}), predictor.class_names)
    return built.to(predictor.device).eval()


def _blocks(model: Classifier) -> list[nn.Module]:
    blocks = list(getattr(model.backbone, "blocks", ()))
    if not blocks:
        raise ConfigError(
            "this backbone has no blocks with branches, and so no adapters in them that could be inspected"
        )
    return blocks


def _trained(block: nn.Module) -> int:
    return sum(parameter.numel() for parameter in block.parameters() if parameter.requires_grad)


def _tokens(predictor: Predictor, model: Classifier, views_1CTHW: Tensor) -> list[Tensor]:
    """What leaves each block, (X, N, D), without tokens that an adapter put in front."""
    found: list[Tensor] = []
    with ExitStack() as undone:
        for block in _blocks(model):
            undone.callback(block.register_forward_hook(lambda module, args, output: found.append(output)).remove)
        forward(model, views_1CTHW, predictor.config.train.precision, predictor.device)
    return [tokens.float().cpu() for tokens in found]


@contextmanager
def _ratios_noted(model: Classifier, noted: dict[tuple[int, str], float]) -> Iterator[None]:
    """Note the ratio of each adapter beside or behind a part of a block: by the block's number and the part's name."""
    with ExitStack() as undone:
        for number, block in enumerate(_blocks(model)):
            for name, module in block.named_modules():
                adapter, branch = getattr(module, "adapter", None), getattr(module, "branch", None)
                if isinstance(adapter, AdapterModule) and isinstance(branch, nn.Module):
                    _watch(adapter, branch, (number, name or "block"), noted, undone)
        yield


def _watch(
    adapter: nn.Module, branch: nn.Module, key: tuple[int, str], noted: dict[tuple[int, str], float], undone: ExitStack
) -> None:
    made: dict[str, Tensor] = {}

    def note(of: str, args: Any, output: Any) -> None:
        made[of] = output
        if len(made) < 2 or not isinstance(output, Tensor) or made["adapter"].shape != made["branch"].shape:
            return  # prompts stand in front of tokens: there is no branch to compare with
        added, frozen = made["adapter"].float(), made["branch"].float()
        if args[0] is made["branch"] and isinstance(adapter, ScaleShift):
            added = added - frozen
        lengths = added.flatten(0, -2).norm(dim=-1) / frozen.flatten(0, -2).norm(dim=-1).clamp(min=1e-12)
        noted[key] = float(lengths.median())
        made.clear()

    undone.callback(adapter.register_forward_hook(lambda module, args, output: note("adapter", args, output)).remove)
    undone.callback(branch.register_forward_hook(lambda module, args, output: note("branch", args, output)).remove)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """1 - cosine of each token's two vectors."""
    return 1 - torch.cosine_similarity(x, y, dim=-1)


def _where(model: Classifier, moved: Tensor) -> np.ndarray | None:
    """Where in the clip its tokens come from, (t, h, w); None where the backbone does not say."""
    grid = getattr(model.backbone, "grid", None)
    if grid is None or not all(grid.thw) or not grid.in_order:
        return None
    rows = moved.flatten(1)
    of_row = math.prod(grid.thw) // len(rows)
    return rows[:, rows.shape[1] - of_row :].reshape(grid.thw).numpy()
