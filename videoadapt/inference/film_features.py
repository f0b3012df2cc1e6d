"""Features of films at a stride, in the layout that heads for temporal localisation read.

Shapes: T features of a film, C their width.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videoadapt.errors import ConfigError, DecodeError
from videoadapt.files import write_atomically, write_json
from videoadapt.inference.predictor import Predictor
from videoadapt.video.part import stem_of


def write_film_features(
    predictor: Predictor,
    films: Sequence[Path],
    out: Path,
    every_sec: float,
    window_sec: float | None = None,
    crops: int | None = None,
) -> Iterator[tuple[Path, str | None]]:
    """Write out/<name>.npy, float32 (T, C), of each film, and out/features.json, which says where they are in it.

    As ActionFormer's data sets take them: feature t is of `feat_num_frames` frames from frame t * `feat_stride` on, so that it
    stands for the second (t * feat_stride + feat_num_frames / 2) / fps. Yields each film with the reason why it cannot be
    read, or None. Raises ConfigError for two films of one name.
    """
    names = [stem_of(film) for film in films]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two films are called {twice}, and their features would have one name; use two folders")
    out.mkdir(parents=True, exist_ok=True)
    described: dict[str, dict[str, Any]] = {}
    for film, name in zip(films, names, strict=True):
        try:
            found = predictor.film_features(film, every_sec=every_sec, window_sec=window_sec, crops=crops)
        except DecodeError as error:
            yield film, str(error)
            continue
        write_atomically(out / f"{name}.npy", lambda path, values=found.values: _save(path, values))  # type: ignore[misc]
        fps_hz = found.fps_hz or 0.0
        described[name] = {
            "fps": fps_hz,
            "duration": found.end_sec - found.start_sec,
            "num_frames": found.num_frames,
            "feat_stride": found.every_sec * fps_hz,
            "feat_num_frames": found.window_sec * fps_hz,
            "num_features": len(found.values),
        }
        write_json(out / "features.json", {"feat_dim": int(found.values.shape[1]), "films": described})
        yield film, None


def _save(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, values)
