"""scikit-learn's handwritten digits as PNG files: a real set of images that every machine has without a download.

They are the 1,797 test images of UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, CC BY
4.0), 8 x 8 pixels of 17 grey levels, in the order of their writers.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from videoadapt.data.videos import VideoRows
from videoadapt.errors import ConfigError, DataListError, did_you_mean
from videoadapt.files import write_atomically
from videoadapt.registry import DATASETS

# so that writers stay on one side
_SPLITS = {"train": range(1000), "val": range(1000, 1197), "test": range(1197, 1797)}
_WHITE = 16


@DATASETS.register
class Digits:
    """1,000 training, 197 validation and 600 test images in ten classes, written below `data.root` at the first use."""

    def __init__(self) -> None:
        self.class_names: list[str] | None = [str(digit) for digit in range(10)]

    def rows(self, source: str, root: Path) -> VideoRows:
        """Return what `load` does, and raise what it does, while no image is written."""
        return VideoRows(root, [(name, label, line) for line, (name, label, _) in enumerate(_images(source), 1)])

    def load(self, source: str, root: Path) -> VideoRows:
        """Return the images of one split. Raises DataListError for another name, ConfigError without scikit-learn."""
        for name, _, values_HW in _images(source):
            if not (root / name).is_file():
                _write(root / name, values_HW)
        return self.rows(source, root)


def _images(source: str) -> list[tuple[str, int, np.ndarray]]:
    """The name, the label and the grey levels (8, 8) of each image of a split."""
    if source not in _SPLITS:
        raise DataListError(f"{source}: the digits have no such split; {did_you_mean(source, _SPLITS)}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError("data.dataset.name = digits: needs scikit-learn; pip install 'videoadapt[images]'") from error
    found = load_digits()
    labels = {index: int(found.target[index]) for index in _SPLITS[source]}
    return [(f"{source}/{label}/{index:04d}.png", label, found.images[index]) for index, label in labels.items()]


def _write(path: Path, values_HW: np.ndarray) -> None:
    """Grey levels from 0 to 16 as 8 bits, the nearest of each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.rint(values_HW * (255 / _WHITE)).astype(np.uint8))
    write_atomically(path, lambda partial: picture.save(partial, "PNG"))
