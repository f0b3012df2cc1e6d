"""The model that answers: of a run's folder, of an adapter file, of an ONNX file, or the one that comes with videoadapt."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from videoadapt.inference.adapter_bank import AdapterBank
    from videoadapt.inference.many import Asking
    from videoadapt.inference.predictor import Predictor

QUICKSTART_ADAPTER = "package:quickstart_adapter.safetensors"


def open_model(
    run: Path | None,
    adapter: Path | None,
    weights: str | None,
    device: "torch.device",
    compile: bool = False,
    fps_hz: float | None = None,
    onnx: Path | None = None,
) -> "tuple[dict[str, str], Predictor]":
    """Where the model is from, {"run": folder}, {"adapter": file} or {"onnx": file}, and itself.

    Without either it is the newest run's below outputs/, and without a run there the quickstart's, of which a line says what
    it knows.
    """
    from videoadapt.inference.predictor import Predictor
    from videoadapt.runs.folder import newest_run

    if onnx:
        return {"onnx": str(onnx)}, Predictor.from_onnx(onnx, fps_hz)
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


def open_models(
    run: Path | None,
    adapters: Sequence[Path] | None,
    weights: str | None,
    device: str,
    compile: bool = False,
    fps_hz: float | None = None,
    onnx: Path | None = None,
) -> "tuple[list[dict[str, str]], Predictor | AdapterBank, Asking]":
    """The same of any number of adapters: where each is from, the model or the bank of them, and how all are asked."""
    from videoadapt.distributed import choose_device

    chosen = choose_device(device)
    if adapters is None or len(adapters) < 2:
        source, predictor = open_model(run, adapters[0] if adapters else None, weights, chosen, compile, fps_hz, onnx)
        return [source], predictor, predictor.asking
    from videoadapt.inference.adapter_bank import AdapterBank, asking_tasks

    bank = AdapterBank.from_files(adapters, weights, fps_hz).to(chosen)
    return [{"adapter": str(name)} for name in adapters], bank, asking_tasks(bank, chosen)
