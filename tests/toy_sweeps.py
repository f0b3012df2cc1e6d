"""Small sweeps over toy runs, and cells that look as if they had been run."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.toy_runs import toy_config, write_config
from videoadapt.config.loading import dump_config
from videoadapt.errors import VideoAdaptError
from videoadapt.runs.outcome import OutcomeRecorder
from videoadapt.sweeps.cell import Cell
from videoadapt.sweeps.plan import Sweep

RATES = {"optim.lr_per_256": [0.001, 0.01, 0.1]}
METHODS = {
    "method": {"linear": {"model.adapter": {"name": "linear"}}, "lora": {"model.adapter": {"name": "lora", "rank": 2}}}
}


def sweep(folder: Path, *overrides: str, **keys: Any) -> Sweep:
    base = toy_config(folder / "unused", folder / "clips", data={"val": "val"})
    write_config(folder / "base.yaml", base)
    raw = {"base": "base.yaml", "output": str(folder / "sweep"), "axes": METHODS | RATES, **keys}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return Sweep(folder / "sweep.yaml", overrides)


def finish(cell: Cell, val_top1: float, top1: float, unreadable: int = 0) -> None:
    """Leave what a run leaves: its config, its validation, what it trained and, when it was tested, its results."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    (cell.folder / "config.yaml").write_text(dump_config(cell.config), encoding="utf-8")
    records = [{"kind": "val", "step": 1, "top1": val_top1}, {"kind": "val", "step": 2, "top1": val_top1 - 5}]
    (cell.folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (cell.folder / "adapter.safetensors").touch()
    if cell.tested:
        results = {"num_unreadable": unreadable, "num_videos": 10, "trained_parameters": 5}
        results |= {"top1": top1, "top5": top1, "mean_class": top1}
        (cell.folder / "results.json").write_text(json.dumps(results))


def end(cell: Cell, error: VideoAdaptError) -> None:
    """Leave the outcome of a run that ended with `error`."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(type(error)), OutcomeRecorder(cell.folder):
        raise error
