"""Clips in tars, as the webdataset library writes them: `key.mp4` and beside it `key.cls`, or `key.json` with a label in it.

That library streams tars and shuffles what a buffer holds: what comes next then depends on the number of workers, and no
position can be resumed. Here a sample is read in place, at its first byte, so that the order is every other list's, by (seed,
epoch, row), whatever the workers and ranks. The price is a jump in a file for each clip instead of reading on.
"""

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Len

from videoadapt.data.columns import MOST_DIGITS
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.log import progress
from videoadapt.paths import files_in
from videoadapt.registry import DATASETS
from videoadapt.video.files import open_bytes
from videoadapt.video.shards import members_of

_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.S)  # webdataset: up to the first dot of the last name
_MOST_LABEL_BYTES = 2**20


@DATASETS.register
class WebDataset:
    """Samples of uncompressed tars below `data.root`; a list is their names: `train-{000000..000009}.tar`, or `train-*.tar`.

    `videos`: what names of videos end in. `label`: cls, a file with a whole number, or json, one with it as its `label_key`.
    """

    def __init__(
        self,
        *,
        videos: Annotated[list[str], Len(1)] = ["mp4", "avi", "mkv", "mov", "webm"],  # noqa: B006 - read only
        label: Literal["cls", "json"] = "cls",
        label_key: str = "label",
    ):
        self._endings, self._label, self._label_key = tuple(videos), label, label_key
        self.class_names: list[str] | None = None

    def load(self, source: str, root: Path) -> VideoRows:
        """Return the samples of all tars in their order, called `shard.tar/key.mp4`.

        Raises DataListError for a tar that is not there, compressed or cut off, and a sample without a video or a label.
        """
        shards = expanded(source, root)
        rows: list[tuple[str, int, int]] = []
        with progress("index", len(shards), "tars") as line:
            for shard in shards:
                rows += [
                    (f"{shard}/{name}", label, len(rows) + n)
                    for n, (name, label) in enumerate(self._in(root / shard), 1)
                ]
                line.advance()
        if not rows:
            raise DataListError(
                f"{source}: its tars hold no samples; expected key.{self._endings[0]} and key.{self._label}"
            )
        return VideoRows(root, rows)

    def _in(self, shard: Path) -> Iterator[tuple[str, int]]:
        """(name, label) of each sample in a tar."""
        samples: dict[str, dict[str, str]] = {}
        for name in members_of(shard):
            if match := _KEY.fullmatch(name):
                samples.setdefault(match[1], {})[match[2].lower()] = name
        for key, files in samples.items():
            videos = [files[ending] for ending in self._endings if ending in files]
            if len(videos) != 1 and (videos or self._label in files):
                raise DataListError(
                    f"{shard}: sample {key!r} has {len(videos) or 'no'} videos (it has {', '.join(sorted(files))}); a video "
                    f"ends in one of data.dataset.videos: {', '.join(self._endings)}"
                )
            if videos and self._label not in files:
                raise DataListError(
                    f"{shard}: sample {key!r} has no label {key}.{self._label} (it has {', '.join(sorted(files))}); write it, "
                    "or set data.dataset.label to json or cls"
                )
            if videos:
                yield videos[0], self._label_in(shard / files[self._label])

    def _label_in(self, path: Path) -> int:
        with open_bytes(path) as file:
            content = file.read(_MOST_LABEL_BYTES)
        value: object = content.decode("utf-8", "replace").strip()
        if self._label == "json":
            value = _value_in(path, content, self._label_key)
        text = str(value) if type(value) in (int, str) else ""
        if not text.isdecimal() or len(text) > MOST_DIGITS:
            raise DataListError(f"{path}: label = {value!r:.200}: expected a whole number, from 0")
        return int(text)


def _value_in(path: Path, content: bytes, key: str) -> object:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataListError(f"{path}: is no JSON: {error}") from error
    if not isinstance(found, dict) or key not in found:
        keys = ", ".join(sorted(found)) if isinstance(found, dict) else type(found).__name__
        raise DataListError(f"{path}: has no {key!r} (it has {keys:.200}); set data.dataset.label_key")
    return found[key]


def expanded(source: str, root: Path) -> list[str]:
    """The tars that a list names, below `root`: `a-{000..012}.tar` and `{a,b}.tar` in this order, `*` and `?` sorted.

    Raises DataListError where a pattern finds nothing.
    """
    parts = re.split(r"\{([^{}]*)\}", source)
    choices = [[part] if place % 2 == 0 else _choices(part) for place, part in enumerate(parts)]
    names = ["".join(chosen) for chosen in product(*choices)]
    found = [name for name in names for name in (_fitting(name, root) if re.search(r"[*?]", name) else [name])]
    if wrong := [name for name in found if not name.endswith(".tar")]:
        raise DataListError(
            f"{source}: {wrong[0]} is no name of an uncompressed tar; expected such as train-{{000..012}}.tar"
        )
    return list(dict.fromkeys(found))


def _choices(part: str) -> list[str]:
    if numbers := re.fullmatch(r"(\d+)\.\.(\d+)", part):
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        return [f"{number:0{width}d}" for number in range(int(numbers[1]), int(numbers[2]) + 1)]
    return part.split(",")


def _fitting(pattern: str, root: Path) -> list[str]:
    folder, _, name = pattern.rpartition("/")
    found = [path.relative_to(root).as_posix() for path in files_in(root / folder, name)]
    if not found:
        raise DataListError(f"{pattern}: no tar below {root} is called so")
    return found
