"""An exported ONNX file that answers as the run does that it is from: onnxruntime computes, the file says how to look.

Shapes: B clips, T frames, H W pixels, K classes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.paths import check_permitted, is_file
from videoadapt.runs.adapter_content import Described, described
from videoadapt.video.sides import sides_of

INPUT, OUTPUT = "clips", "logits"  # names of what goes in and comes out, as `videoadapt export` writes them


class OnnxModel:
    """uint8 clips (B, 3, T, H, W), RGB -> float32 logits (B, K), on the CPU, in as many threads as torch has.

    `about` is what the file says of itself. Raises CheckpointError for a file that is missing, damaged or not of
    `videoadapt export`, and ConfigError without the package onnxruntime.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._session = _session(self.path)
        metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.about = _described(self.path, metadata)
        self.quantised = metadata.get("quantised")  # int8 or fp16; None: float32
        _check_places(self.path, self._session, self.about)

    def __reduce__(self) -> tuple[type["OnnxModel"], tuple[Path]]:
        # what onnxruntime opened cannot be pickled: another process opens the file itself
        return OnnxModel, (self.path,)

    def __call__(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the logits."""
        return torch.from_numpy(self._session.run([OUTPUT], {INPUT: clips_BCTHW.numpy(force=True)})[0])

    def features(self, clips_BCTHW: Tensor) -> NoReturn:
        """Raise ConfigError: the file ends with the head."""
        raise ConfigError(
            f"{self.path}: an ONNX file gives logits only; features come from the run, or its adapter file"
        )


def _session(path: Path) -> Any:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as refusals
    except ImportError as error:
        raise ConfigError(f"{path}: needs the package {error.name}: pip install 'videoadapt[onnx]'") from error
    if not is_file(path):
        raise CheckpointError(f"{path}: there is no such ONNX file; videoadapt export writes one")
    check_permitted(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # its own default: all cores, also where few may be used
    options.log_severity_level = 3  # errors
    refused = tuple(
        getattr(refusals, name)
        for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    )
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except refused as error:
        reason = str(error).partition(" : ")[2].partition(" : ")[2].splitlines()[0]
        raise CheckpointError(f"{path}: cannot be read as an ONNX file: {reason}") from error


def _described(path: Path, metadata: Mapping[str, str]) -> Described:
    """What the statement in the file, and what stands beside it, say."""
    if "statement" not in metadata:
        raise CheckpointError(
            f"{path}: says nothing of frames, sizes and classes (no metadata `statement`); what answers are files that "
            "videoadapt export wrote"
        )
    try:
        statement = dict(json.loads(metadata["statement"]))
    except (RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its statement cannot be read: {error}") from error
    parts = {key: json.dumps(value) for key, value in statement.items() if key != "backbone"}
    return described(path, {**metadata, **parts, "trunk": str(statement.get("backbone"))})


def _check_places(path: Path, session: Any, about: Described) -> None:
    """Raise CheckpointError where the graph takes or gives something else than the statement says."""
    data = about.config.data
    expected = (
        (INPUT, "tensor(uint8)", [3, data.num_frames, *sides_of(data.crop_px)]),
        (OUTPUT, "tensor(float)", [len(about.class_names)]),
    )
    found = tuple(
        (place.name, place.type, place.shape[1:])
        for places in (session.get_inputs(), session.get_outputs())
        for place in places
    )
    if found != expected:
        raise CheckpointError(f"{path}: its graph maps {_said(found)}, its statement {_said(expected)}; export it anew")


def _said(places: Any) -> str:
    return " to ".join(f"{name} {kind} (B, {', '.join(map(str, shape))})" for name, kind, shape in places)
