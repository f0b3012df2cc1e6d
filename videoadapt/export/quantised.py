"""An ONNX file in fewer bits, and what that costs: both files asked about the same test videos.

Shapes: N videos, V views of each, K classes.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from videoadapt.config.schema import Config
from videoadapt.data.structures import Unreadable, Video
from videoadapt.errors import ConfigError, DecodeError, counted
from videoadapt.evaluation.multi_label import MultiPredictions
from videoadapt.evaluation.predictions import ListPredictions, average_views
from videoadapt.evaluation.views import ViewAccumulator, ViewId
from videoadapt.files import write_atomically
from videoadapt.inference.onnx_model import OnnxModel
from videoadapt.log import progress
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.given_lists import columns_for
from videoadapt.runs.lists import load_splits
from videoadapt.video.readers import FileNotes

Quantised = Literal["int8", "fp16"]


def quantise(source: Path, out: Path, how: Quantised) -> None:
    """Write the float32 ONNX file `source` as `out`, with its metadata and `quantised` added.

    int8: weights of matrix products, each output channel with its own scale, in 8 bits, their inputs in 8 bits as they come
    (dynamic quantisation); attention's own products, patches and norms stay float32. Weights are unsigned: with signed ones the
    kernels for processors with AVX2 and no VNNI add pairs of products in 16 bits, which overflow.
    fp16: all weights and operations but the normalisation of pixels. Raises ConfigError without the packages.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise ConfigError(f"{out}: needs the package {error.name}: pip install 'videoadapt[export]'") from error
    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if how == "fp16":
        model = convert_float_to_float16(model, keep_io_types=True)
    else:
        del model.graph.value_info[:]  # shapes of what onnxruntime transposes, which 1.30 then calls wrong
        with tempfile.TemporaryDirectory() as folder, _without_advice():
            written = Path(folder, "int8.onnx")
            quantize_dynamic(model, written, ["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QUInt8)
            model = onnx.load(written)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**metadata, "quantised": how})
    write_atomically(out, lambda partial: partial.write_bytes(model.SerializeToString()))


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence advice of onnxruntime on every call, to optimise the graph first, which is done anyway when a session opens."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def videos_of_test(
    config: Config, num_classes: int, source: Path | None = None, root: Path | None = None
) -> Sequence[Video]:
    """The test list of a run, or `source`; `root`: where the videos are, None: data.root, or of `source` the current folder.

    Raises DataListError with all that is wrong.
    """
    chosen: dict[str, Any] = {"root": root} if root else {}
    if source:
        chosen = {"dataset": {"name": "video_list"}, "test": str(source), "root": root or Path()}
        chosen["columns"] = columns_for(source, config.data)
    data = config.data.model_copy(update={"classes": num_classes, "val": None, **chosen})
    parts = {"train": config.train, "test": config.test}
    enabled = {key: part.model_copy(update={"enable": key == "test"}) for key, part in parts.items()}
    return load_splits(config.model_copy(update={"data": data, **enabled})).test


@dataclass
class Asked:
    """A file, what it said of the test videos, and how long it took over them."""

    path: Path
    predictions: ListPredictions
    ms_per_clip: float

    @property
    def probs_NK(self) -> np.ndarray:
        """The probabilities of the videos that could be read."""
        logits_NVK = torch.from_numpy(self.predictions.logits_NVK[self.predictions.readable_N])
        return average_views(logits_NVK, self.predictions.average, as_probs=True, labels=self.predictions.kind).numpy()


def cost(exact: Path, quantised: Path, videos: Sequence[Video]) -> dict[str, Any]:
    """What both files say of the videos of a list, each decoded once, by the views of the run's test.

    Scores in percent, sizes in bytes, milliseconds of one clip in passes of `test.batch_size` and with torch's number of
    threads; the largest and the mean difference of a probability, and of how many videos the best class is another. Raises
    DecodeError where none can be read.
    """
    asked = _ask([OnnxModel(exact), OnnxModel(quantised)], videos)
    probs = [one.probs_NK for one in asked]
    if not len(probs[0]):
        raise DecodeError(
            f"none of the {counted(len(videos), 'test video')} can be read: {asked[0].predictions.unreadable[0]}"
        )
    differing_NK = np.abs(probs[1] - probs[0])
    names = ("float32", str(OnnxModel(quantised).quantised))
    return {
        "num_videos": len(videos),
        "num_unreadable": len(videos) - len(probs[0]),
        "num_clips": asked[0].predictions.logits_NVK.shape[1] * len(probs[0]),
        "threads": torch.get_num_threads(),
        **{name: _scores(one) for name, one in zip(names, asked, strict=True)},
        "largest_difference": float(differing_NK.max()),
        "mean_difference": float(differing_NK.mean()),
        "num_other_best": int((probs[1].argmax(axis=1) != probs[0].argmax(axis=1)).sum()),
    }


def _scores(asked: Asked) -> dict[str, Any]:
    measures = asked.predictions.measures(np.ones(len(asked.predictions.videos), dtype=bool))
    return {**measures, "bytes": os.path.getsize(asked.path), "ms_per_clip": round(asked.ms_per_clip, 3)}


def _ask(models: Sequence[OnnxModel], videos: Sequence[Video]) -> list[Asked]:
    config, num_classes = models[0].about.config, len(models[0].about.class_names)
    test, data = config.test, config.data.model_copy(update={"cache": "off"})
    gathered = [ViewAccumulator(videos, test.clips, test.crops, num_classes) for _ in models]
    took_sec, num_clips = [0.0] * len(models), 0
    with progress("quantised", len(videos), "videos") as line:
        for item in build_test_loader(videos, data, test.clips, test.crops):
            line.advance()
            if isinstance(item, Unreadable):
                for accumulator in gathered:
                    accumulator.add_unreadable(item.index, item.reason)
                continue
            num_clips += item.views_NJCTHW.shape[:2].numel()
            for number, (model, accumulator) in enumerate(zip(models, gathered, strict=True)):
                began = time.perf_counter()
                parts = [model(part) for part in item.views_NJCTHW.flatten(0, 1).split(test.batch_size)]
                took_sec[number] += time.perf_counter() - began
                accumulator.note(item.index, FileNotes(item.damaged_frames, item.fps_hz))
                for row, logits_K in enumerate(torch.cat(parts).numpy()):
                    accumulator.add(ViewId(item.index, *divmod(row, test.crops)), logits_K)
    return [
        Asked(model.path, _predictions(model, accumulator), 1000 * sec / max(1, num_clips))
        for model, accumulator, sec in zip(models, gathered, took_sec, strict=True)
    ]


def _predictions(model: OnnxModel, accumulator: ViewAccumulator) -> ListPredictions:
    config, thresholds = model.about.config, model.about.thresholds
    found = accumulator.predictions(config.test.average, config.data.labels)
    if isinstance(found, MultiPredictions) and thresholds is not None:
        found.thresholds_K = np.array(thresholds)
    return found
