"""The model that answers: of a run's folder, of an adapter file, or the one that comes with videoadapt."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from videoadapt.inference.predictor import Predictor

QUICKSTART_ADAPTER = "package:quickstart_adapter.safetensors"


def open_model(
    run: Path | None,
    adapter: Path | None,
    weights: str | None,
    device: "torch.device",
    compile: bool = False,
    fps_hz: float | None = None,
) -> "tuple[dict[str, str], Predictor]":
    """Where the model is from, {"run": folder} or {"adapter": file}, and itself.

    Without either it is the newest run's below outputs/, and without a run there the quickstart's, of which a line says what
    it knows.
    """
    from videoadapt.inference.predictor import Predictor
    from videoadapt.runs.folder import newest_run

    if not adapter and (folder := run or newest_run(Path("outputs"))):
        return {"run": str(folder)}, Predictor.from_run(folder, device, compile, fps_hz)
    file = str(adapter or QUICKSTART_ADAPTER)
    predictor = Predictor.from_adapter(file, weights, device, compile, fps_hz)
    if not adapter:
        sys.stderr.write(
            "There is no run below outputs/, so the quickstart's model answers, which comes with videoadapt. It knows "
            f"rendered motions only: {', '.join(predictor.class_names)}. Your own: videoadapt train --cfg own_videos, or "
            "--run, or --adapter\n"
        )
    return {"adapter": file}, predictor
