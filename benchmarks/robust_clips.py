"""The clips of `robust_table`: rendered once, corrupted once, and then read by every training from files that all of them map.

Clips are 8 frames at stride 2 of 64 x 64 pixels, of videos of 24 frames of 64 x 85, which no codec has touched.
Shapes: N videos or clips, E variants, T frames, H W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations_with_replacement
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from videoadapt.rendering.files import NUM_FRAMES
from videoadapt.rendering.motions import MOTIONS, draw_states
from videoadapt.rendering.painting import render, shapes_of
from videoadapt.runs.seeds import hash_seed
from videoadapt.video.corruptions import corrupt
from videoadapt.video.rand_augment import RandAugment
from videoadapt.video.samplers.dense import Dense
from videoadapt.video.transforms import TrainTransform, view_crops

CROP_PX, WIDTH_PX, CLIP_FRAMES, STRIDE = 64, 85, 8, 2
KNOWN = list(MOTIONS["table"])
OTHER = [motion for motion in MOTIONS["trunk"] if motion not in KNOWN]
SPLITS = {"train": KNOWN, "val": KNOWN, "test": KNOWN, "unknown": OTHER, "probe_train": OTHER, "probe_test": OTHER}
PAIRS = list(combinations_with_replacement(range(4), 2))  # of an object's four shapes
SHIFTS = (1, 3)  # strides: the same films at twice, and at two thirds of, the frame rate
_RENDERED_AT_ONCE = 64


@dataclass(frozen=True)
class Recipe:
    """How training clips are augmented: on the processor before the training, or in each batch."""

    rand_augment: str | None = None
    noise: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0


RECIPES = {
    "plain": Recipe(),
    "noise": Recipe(noise=40),
    "rand_augment": Recipe(rand_augment="rand-m7-n4-mstd0.5-inc1"),
    "mixing": Recipe(mixup=0.8, cutmix=1.0, label_smoothing=0.1),
    "both": Recipe(rand_augment="rand-m7-n4-mstd0.5-inc1", mixup=0.8, cutmix=1.0, label_smoothing=0.1),
}


def render_videos(folder: Path, per_class: dict[str, int], device: torch.device) -> None:
    """Render `per_class` videos of each motion of each split: `<split>.npy`, uint8 (N, T, H, W, 3), and labels and shapes."""
    for number, (split, motions) in enumerate(SPLITS.items()):
        labels_N = np.repeat(np.arange(len(motions)), per_class[split])
        seeds_N = torch.tensor([hash_seed(2026, number, row) for row in range(len(labels_N))])
        out = _new(folder / f"{split}.npy", (len(labels_N), NUM_FRAMES, CROP_PX, WIDTH_PX, 3))
        for rows in np.array_split(np.arange(len(labels_N)), -(-len(labels_N) // _RENDERED_AT_ONCE)):
            seeds_B = seeds_N[rows].to(device)
            states_BTS = draw_states([motions[labels_N[row]] for row in rows], seeds_B, NUM_FRAMES)
            out[rows] = render(states_BTS, seeds_B, CROP_PX, WIDTH_PX).cpu().numpy()
        np.save(folder / f"{split}_labels.npy", labels_N)
        np.save(folder / f"{split}_shapes.npy", _shapes(seeds_N))


def _shapes(seeds_N: torch.Tensor) -> NDArray[np.int64]:
    """Which two of the four shapes a video shows, in any order."""
    return np.array([PAIRS.index((min(pair), max(pair))) for pair in shapes_of(seeds_N).tolist()])


def make_clips(
    folder: Path, epochs: int, recipes: Sequence[str], kinds: Sequence[str], strength: int, processes: int
) -> None:
    """Cut all clips out of the rendered videos, in `processes`: test clips, corrupted ones, `epochs` variants for training."""
    cuts = [Cut(split) for split in SPLITS] + [Cut("test", stride=stride) for stride in SHIFTS]
    cuts += [Cut("test", kind, strength=strength) for kind in kinds]
    cuts += {_training_cut(recipe, epochs) for recipe in recipes}
    tasks = [task for cut in cuts for task in cut.tasks(folder)]
    with pool_of(processes, torch.set_num_threads, 1) as pool:
        for _ in pool.map(_cut, *zip(*tasks, strict=True)):
            pass


@dataclass(frozen=True)
class Cut:
    """Clips of a split in one file: one of each video, as in testing, or several, as in training."""

    split: str
    kind: str = ""  # of corruption
    stride: int = STRIDE
    strength: int = 0
    augment: str | None = None
    noise: float = 0.0
    variants: int = 0

    @property
    def name(self) -> str:
        """The file."""
        augmented = f"variants_{self.augment}_{self.noise:g}.npy"
        return augmented if self.variants else f"clips_{self.split}_{self.kind or self.stride}.npy"

    def tasks(self, folder: Path) -> Iterator["tuple[Path, Cut, int, int]"]:
        """Make the file, and divide the work on it: from which row to which."""
        number, clip = len(np.load(folder / f"{self.split}_labels.npy")), (3, CLIP_FRAMES, CROP_PX, CROP_PX)
        _new(folder / self.name, (number, self.variants, *clip) if self.variants else (number, *clip))
        step = 16 if self.variants else 64
        return ((folder, self, first, min(first + step, number)) for first in range(0, number, step))

    def test_clip(self, frames_THWC: NDArray[np.uint8], row: int) -> NDArray[np.uint8]:
        """The middle of a video, (3, T, H, W)."""
        if self.kind:
            frames_THWC = corrupt(frames_THWC, self.kind, self.strength, video=str(row))
        (index_T,) = Dense(stride_frames=self.stride).test_indices(len(frames_THWC), CLIP_FRAMES, 1)
        frames_TCHW = torch.from_numpy(frames_THWC[index_T]).permute(0, 3, 1, 2)
        return view_crops(frames_TCHW, CROP_PX, 1)[0].transpose(0, 1).numpy()

    def training_clips(self, frames_THWC: NDArray[np.uint8], row: int) -> Iterator[NDArray[np.uint8]]:
        """Anywhere in a video, (3, T, H, W) each."""
        rand_augment = RandAugment(self.augment) if self.augment else None
        transform = TrainTransform(
            crop_px=CROP_PX, crop="random", flip=0, erasing=0, noise=self.noise, augment=rand_augment
        )
        for variant in range(self.variants):
            seed = hash_seed(row, variant)
            sampler = Dense(stride_frames=self.stride)
            index_T = sampler.train_indices(len(frames_THWC), CLIP_FRAMES, np.random.default_rng(seed))
            clip_CTHW, _ = transform(torch.from_numpy(frames_THWC[index_T]), torch.Generator().manual_seed(seed))
            yield clip_CTHW.numpy()


def _cut(folder: Path, cut: Cut, first: int, end: int) -> None:
    videos, out = np.load(folder / f"{cut.split}.npy", mmap_mode="r"), np.load(folder / cut.name, mmap_mode="r+")
    for row in range(first, end):
        frames_THWC = np.array(videos[row])
        out[row] = (
            np.stack([*cut.training_clips(frames_THWC, row)]) if cut.variants else cut.test_clip(frames_THWC, row)
        )


def pool_of(processes: int, begin: Callable[..., None], *given: Any) -> Executor:
    """So many processes, each of which begins in this way; 0: a thread of this one."""
    if not processes:
        return ThreadPoolExecutor(1, initializer=begin, initargs=given)
    return ProcessPoolExecutor(processes, get_context("spawn"), begin, given)


def clips_of(folder: Path, split: str, kind: str = "", stride: int = STRIDE) -> NDArray[np.uint8]:
    """Return the test clips (N, 3, T, H, W) of a split, of one kind of corruption, or at another stride."""
    found: NDArray[np.uint8] = np.load(folder / Cut(split, kind, stride).name, mmap_mode="r")
    return found


def training_clips(folder: Path, recipe: str) -> NDArray[np.uint8]:
    """Return the variants of all training clips, (N, E, 3, T, H, W)."""
    found: NDArray[np.uint8] = np.load(folder / _training_cut(recipe, 1).name, mmap_mode="r")
    return found


def _training_cut(recipe: str, variants: int) -> Cut:
    return Cut("train", augment=RECIPES[recipe].rand_augment, noise=RECIPES[recipe].noise, variants=variants)


def _new(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    made: NDArray[np.uint8] = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    return made
