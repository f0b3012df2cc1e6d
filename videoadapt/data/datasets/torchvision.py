"""Published sets of images as torchvision reads them: its own classes look at the files, check their sums and know the splits.

Nothing is downloaded. CIFAR and SVHN keep all images in a few files of arrays: these are written once as PNG below
`data.root`, so that every image is a file that every tool here can name.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, DataListError, did_you_mean
from videoadapt.files import make_folder
from videoadapt.log import progress
from videoadapt.paths import exists, is_folder
from videoadapt.registry import DATASETS


@dataclass(frozen=True)
class _Published:
    """A class of torchvision, what names its splits, and the files or folders that each needs below the root."""

    name: str
    splits: dict[str, dict[str, Any]]
    needs: Callable[[str], tuple[str, ...]]
    comes_as: str  # the archive, where there is one


def _by_name(*splits: str) -> dict[str, dict[str, Any]]:
    return {split: {"split": split} for split in splits}


def _always(*files: str) -> Callable[[str], tuple[str, ...]]:
    return lambda _: files


_CIFAR_SPLITS = {"train": {"train": True}, "test": {"train": False}}
_PUBLISHED = {
    "cifar10": _Published(
        "CIFAR10", _CIFAR_SPLITS,
        _always(*(f"cifar-10-batches-py/{name}" for name in
                  (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"))),
        "cifar-10-python.tar.gz",
    ),
    "cifar100": _Published(
        "CIFAR100", _CIFAR_SPLITS,
        _always(*(f"cifar-100-python/{name}" for name in ("train", "test", "meta"))), "cifar-100-python.tar.gz",
    ),
    "svhn": _Published("SVHN", _by_name("train", "test", "extra"), lambda split: (f"{split}_32x32.mat",), ""),
    "food101": _Published(
        "Food101", _by_name("train", "test"),
        lambda split: ("food-101/images", f"food-101/meta/{split}.json"), "food-101.tar.gz",
    ),
    "flowers102": _Published(
        "Flowers102", _by_name("train", "val", "test"),
        _always("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
        "102flowers.tgz, imagelabels.mat and setid.mat, in a folder flowers-102",
    ),
}  # fmt: skip
_OF_ARRAYS = ("CIFAR10", "CIFAR100", "SVHN")
PICTURES = "pictures"  # below the root: what is written of these


@DATASETS.register
class TorchvisionImages:
    """The images of a published set below `data.root`, where torchvision would put them; lists are its splits."""

    def __init__(self, *, images: Literal["cifar10", "cifar100", "svhn", "food101", "flowers102"]):
        self._name, self._published = images, _PUBLISHED[images]
        self.class_names: list[str] | None = None

    def is_made(self, source: str, root: Path) -> bool:
        """Whether `load` has nothing to write: the images of a split are files."""
        return self._published.name not in _OF_ARRAYS or is_folder(root / PICTURES / source)

    def rows(self, source: str, root: Path) -> VideoRows:
        """Return what `load` does, and raise what it does, while no image is written."""
        return self._rows(self._open(source, root), source, root)

    def load(self, source: str, root: Path) -> VideoRows:
        """Return the images of one split, in torchvision's order, and write those that are no files yet.

        Raises DataListError for another split, a file that is not there, or is not the published one, and ConfigError where
        torchvision needs a package that is not installed.
        """
        found = self._open(source, root)
        if not self.is_made(source, root):
            # a folder of another name, which gets its own once all are there
            make_folder(root / PICTURES / source, lambda partial: _write_all(found.data, partial))
        return self._rows(found, source, root)

    def _rows(self, found: Any, source: str, root: Path) -> VideoRows:
        names = getattr(found, "classes", None) or map(str, range(10))  # SVHN's are digits, without names there
        self.class_names = list(names)
        if self._published.name in _OF_ARRAYS:
            paths = [f"{PICTURES}/{source}/{_name(index)}" for index in range(len(found.data))]
            labels = found.targets if hasattr(found, "targets") else found.labels
        else:
            paths = [Path(os.path.relpath(path, root)).as_posix() for path in found._image_files]
            labels = found._labels
        rows = zip(paths, labels, strict=True)
        return VideoRows(root, ((path, int(label), line) for line, (path, label) in enumerate(rows, 1)))

    def _open(self, source: str, root: Path) -> Any:
        import torchvision.datasets

        splits = self._published.splits
        if source not in splits:
            raise DataListError(f"{source}: {self._name} has no such split; {did_you_mean(source, splits)}")
        needed = self._published.needs(source)
        if missing := [name for name in needed if not exists(root / name)]:
            unpacked = f", unpacked from {self._published.comes_as}" if self._published.comes_as else ""
            raise DataListError(
                f"{source}: of {self._name} in data.root {root}: {', '.join(missing)} not there; place it there{unpacked}"
            )
        try:
            return getattr(torchvision.datasets, self._published.name)(root, **splits[source])
        except ImportError as error:
            raise ConfigError(
                f"data.dataset.images = {self._name}: torchvision needs {error.name} to read it; install that"
            ) from error
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise DataListError(
                f"{source}: of {self._name} in data.root {root}: {', '.join(needed)} not as published (torchvision: "
                f"{str(error).partition('.')[0]}); get them again"
            ) from error


def _name(index: int) -> str:
    return f"{index:06d}.png"


def _write_all(data: np.ndarray, folder: Path) -> None:
    """Each image of an array (N, H, W, 3), or (N, 3, H, W) as SVHN's is, as a PNG file of its own."""
    with progress("write", len(data), "images") as line:
        for index, picture in enumerate(data):
            picture_HWC = picture.transpose(1, 2, 0) if picture.shape[0] == 3 != picture.shape[2] else picture
            Image.fromarray(np.ascontiguousarray(picture_HWC)).save(folder / _name(index))
            line.advance()
