"""Clips of `motions.py` as real H.264 files: a data set that every machine can make for itself."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError, did_you_mean
from videoadapt.files import as_record, write_json, write_text
from videoadapt.paths import check_regular, exists, is_file, is_folder
from videoadapt.registry import DATASETS
from videoadapt.rendering.files import HEIGHT_PX, NUM_FRAMES, WIDTH_PX, ClipFile, render_missing
from videoadapt.rendering.motions import FPS_HZ, MOTIONS, RENDERER_VERSION

RECIPE = "recipe.json"
PerClass = Annotated[int, Interval(ge=0, le=9999)]  # files are numbered with four digits


@DATASETS.register
class Synthetic:
    """Procedural motions, rendered on first use; only time tells the classes apart (see `motions.py`).

    The vocabularies `quickstart` and `trunk` share no motions, `table` has some of both; no two share seeds, nor do the splits.
    """

    def __init__(
        self,
        *,
        vocabulary: Literal["quickstart", "trunk", "table"],
        train_per_class: PerClass,
        val_per_class: PerClass,
        test_per_class: PerClass,
        seed: int = 0,
    ):
        self._per_class = {"train": train_per_class, "val": val_per_class, "test": test_per_class}
        self._vocabulary = vocabulary
        self._seed = seed
        self.class_names: list[str] | None = list(MOTIONS[vocabulary])

    def rows(self, source: str, root: Path) -> VideoRows:
        """Return what `load` does, while nothing is rendered or written: for all that can be known without a clip.

        Raises DataListError for another source, for an empty split, and where `root` holds another recipe or other files.
        """
        if source not in self._per_class:
            raise DataListError(
                f"{source}: the synthetic data set has no such split; {did_you_mean(source, self._per_class)}"
            )
        if not self._per_class[source]:
            raise DataListError(f"{source}: {source}_per_class is 0; set it to 1 or more")
        _check(root, self._recipe())
        clips = enumerate(self._clips(source), 1)
        return VideoRows(root, ((name, label, line) for line, (name, label, _, _) in clips))

    def load(self, source: str, root: Path) -> VideoRows:
        """Return the videos of one split, rendering into `root` what is not there yet.

        Beside the clips stand `recipe.json`, and `classes.txt` and `<split>.csv`, which a video_list can read. Raises
        DataListError as `rows` does.
        """
        videos = self.rows(source, root)
        if not exists(root / RECIPE):
            root.mkdir(parents=True, exist_ok=True)
            write_json(root / RECIPE, self._recipe())
        clips = list(self._clips(source))
        files = [
            ClipFile(root / name, motion, self._clip_seed(source, motion, index)) for name, _, motion, index in clips
        ]
        render_missing(files, f"rendering {source} videos")
        _keep(root / "classes.txt", "".join(f"{motion}\n" for motion in MOTIONS[self._vocabulary]))
        _keep(root / f"{source}.csv", "".join(f"{name} {label}\n" for name, label, _, _ in clips))
        return videos

    def _clips(self, source: str) -> Iterator[tuple[str, int, str, int]]:
        """(name, label, motion, number within its class) of every clip of a split, in the order of its list."""
        for label, motion in enumerate(MOTIONS[self._vocabulary]):
            for index in range(self._per_class[source]):
                yield f"{source}/{motion}/{motion}_{index + 1:04d}.mp4", label, motion, index

    def _recipe(self) -> dict[str, Any]:
        return {
            "renderer_version": RENDERER_VERSION,
            "vocabulary": self._vocabulary,
            **{f"{split}_per_class": number for split, number in self._per_class.items()},
            "seed": self._seed,
            "num_frames": NUM_FRAMES,
            "size_px": [WIDTH_PX, HEIGHT_PX],
            "fps_hz": FPS_HZ,
        }

    def _clip_seed(self, split: str, motion: str, index: int) -> int:
        key = f"{self._seed}/{self._vocabulary}/{split}/{motion}/{index}"
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)


def _keep(path: Path, text: str) -> None:
    """Write a file that does not hold this text yet: every run comes by here, and a disk takes its time."""
    if not is_file(path) or path.read_bytes() != text.encode():
        write_text(path, text)


def _check(root: Path, recipe: dict[str, Any]) -> None:
    """Raise DataListError for a folder that is neither empty nor made by this recipe."""
    path = root / RECIPE
    if not exists(path):
        if is_folder(root) and any(root.iterdir()):
            raise DataListError(f"the root {root} holds other files; choose a folder that is empty or not there yet")
        return
    check_regular(path)
    found = as_record(path.read_bytes())
    if found is None:
        raise DataListError(f"{path}: is not a recipe; delete {root} or choose another root")
    differing = [key for key in {**found, **recipe} if found.get(key) != recipe.get(key)]
    if differing:
        changes = "; ".join(f"{key} is {found.get(key)!r} there, {recipe.get(key)!r} now" for key in differing)
        raise DataListError(
            f"the root {root} was rendered by another recipe ({changes}); delete it or choose another root"
        )
