"""Which method of tuning is robust? Six of them over two trunks, on rendered clips, a GPU and its cores: minutes.

`python -m benchmarks.robust_table OUT --real-trunk real_trunk.safetensors` trains every method with three seeds over the masked
trunk of the package, and over the image trunk that `benchmarks/real_trunk.py` writes, and measures each: on clean clips,
corrupted ones, played backwards, at other frame rates, against motions that it does not know, under attack, and what linear
probes read of its backbone. OUT gets cells.jsonl (a line for each training, also when it is stopped; trainings that stand
there are not made again), robust_table.json, robust_table.md and robust_table.png.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections import defaultdict
from concurrent.futures import Executor, Future, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.robust_cell import METHODS, Bench, Cell, Trunk
from benchmarks.robust_clips import RECIPES, SPLITS, make_clips, pool_of, render_videos
from benchmarks.robust_measures import do
from benchmarks.robust_page import write_page
from videoadapt.errors import VideoAdaptError
from videoadapt.video.corruptions import KINDS

# Per 256 clips. Masked: chosen from seven on these motions (docs/benchmarks.md). Real: of several, by validation clips.
RATES = {
    "masked": {
        "linear": [2.048],
        "vpt-8": [2.048],
        "adaptformer-64": [3.2e-2],
        "lora-8": [3.2e-2],
        "st_adapter-64": [3.2e-2],
        "full": [8e-3],
    },
    "real": {
        "linear": [2e-3, 8e-3, 3.2e-2],
        "vpt-8": [5e-4, 2e-3, 8e-3],
        "adaptformer-64": [2e-3, 8e-3, 3.2e-2],
        "lora-8": [2e-3, 8e-3, 3.2e-2],
        "st_adapter-64": [2e-3, 8e-3, 3.2e-2],
        "full": [8e-6, 3.2e-5, 1.25e-4, 5e-4, 2e-3],
    },
}
AUGMENTED = {("masked", "adaptformer-64"), ("masked", "full")}  # by which recipes are compared
KEPT_KINDS = [name for name, kind in KINDS.items() if kind.keeps_label and len(kind.levels) > 1]

_bench: Bench


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument(
        "--real-trunk", type=Path, metavar="FILE", help="of benchmarks/real_trunk.py; none: masked only"
    )
    parser.add_argument(
        "--real-px", type=int, default=70, help="side to which clips are enlarged for it, a multiple of 14"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30, help="over the masked trunk (30)")
    parser.add_argument("--real-epochs", type=int, default=20, help="over the real one (20)")
    parser.add_argument("--select-epochs", type=int, default=8, help="of the trainings that choose a rate (8)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="with plain: the others")
    parser.add_argument("--kinds", nargs="+", choices=KEPT_KINDS, default=KEPT_KINDS)
    parser.add_argument("--strength", type=int, default=2)
    parser.add_argument("--train-per-class", type=int, default=100)
    parser.add_argument("--test-per-class", type=int, default=64)
    parser.add_argument("--attack-per-class", type=int, default=16, help="of the test clips, to be attacked")
    parser.add_argument("--processes", type=int, default=10, help="trainings at a time; 0: one, in here")
    parser.add_argument("--cut-processes", type=int, default=14, help="that cut and corrupt clips before; 0: in here")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no further training begins")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def trunks_of(args: argparse.Namespace) -> dict[str, Trunk]:
    """The frozen starts, by name."""
    tiny = {"name": "vit", "size": "tiny", "patch_px": 8, "tubelet_frames": 8}
    found = {"masked": Trunk(tiny, "package:masked_trunk.safetensors", 64, (1, 3, 3), reads_order=True)}
    if args.real_trunk is not None:
        image = {"name": "timm", "model": "vit_small_patch14_dinov2", "crop_px": args.real_px}
        found["real"] = Trunk(image, str(args.real_trunk), args.real_px, (3, 1, 1), reads_order=False)
    return found


class Table:
    """The trainings that are to be made, and those that are there."""

    def __init__(self, args: argparse.Namespace, pool: Executor, start: float):
        self.args, self.pool, self.end = args, pool, start + 60 * args.minutes
        self.path = args.out / "cells.jsonl"
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.start = start

    def make(self, cells: list[tuple[Cell, bool]]) -> list[dict[str, Any]]:
        """Make those that are not there, several at a time, and return all; `True` for those that are measured as a whole."""
        waiting = {
            self.pool.submit(_do, cell, whole, self.end): cell for cell, whole in cells if not self._of(cell, whole)
        }
        for number, future in enumerate(as_completed(waiting), 1):
            self._note(future, waiting[future], f"{number}/{len(waiting)}")
        return [record for cell, whole in cells for record in self._of(cell, whole)]

    def _of(self, cell: Cell, whole: bool) -> list[dict[str, Any]]:
        known = [record for record in self.found if record.items() >= asdict(cell).items()]
        return [record for record in known if not whole or {"clean", "diverged"} & record.keys()]

    def _note(self, future: "Future[dict[str, Any] | None]", cell: Cell, number: str) -> None:
        try:
            record = future.result()
        except (
            RuntimeError,
            ValueError,
            VideoAdaptError,
        ) as error:  # one training less, as out of memory; the others go on
            print(f"failed: {cell}: {error}", flush=True)
            return
        if record is None:
            print(f"left out, for lack of time: {cell}", flush=True)
            return
        self.found.append(record)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        name = f"{cell.trunk} {cell.method} {cell.recipe} rate {cell.rate:g} seed {cell.seed}"
        said = f"val {record['val']:.1f}" + (f" clean {record['clean']:.1f}" if "clean" in record else "")
        print(f"{time.time() - self.start:5.0f} s  {number}  {name}: {said}, {record['seconds']:.0f} s", flush=True)


def selected(table: Table, args: argparse.Namespace, trunks: dict[str, Trunk]) -> dict[tuple[str, str], float]:
    """The rate of each method over each trunk: where there are several, the best on validation clips with the first seed."""
    rates = {(trunk, method): RATES[trunk][method] for trunk in trunks for method in args.methods}
    cells = [
        (Cell(*of, "plain", rate, args.seeds[0], args.select_epochs), False)
        for of, several in rates.items()
        for rate in several
        if len(several) > 1
    ]
    scores: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
    for record in table.make(cells):
        scores[record["trunk"], record["method"]][record["rate"]] = record["val"]
    return {
        of: max(scores[of], key=scores[of].__getitem__) if scores[of] else several[0] for of, several in rates.items()
    }


def final_cells(args: argparse.Namespace, rates: dict[tuple[str, str], float]) -> list[tuple[Cell, bool]]:
    """All trainings of the table; recipes last."""
    cells = [
        Cell(trunk, method, recipe, rate, seed, args.epochs if trunk == "masked" else args.real_epochs)
        for recipe in args.recipes
        for seed in args.seeds
        for (trunk, method), rate in rates.items()
        if recipe == "plain" or (trunk, method) in AUGMENTED
    ]
    return [(cell, True) for cell in cells]


def _begin(folder: Path, trunks: dict[str, Trunk], device: str, kinds: list[str], attacked_per_class: int) -> None:
    global _bench
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    _bench = Bench(folder, trunks, torch.device(device), kinds, attacked_per_class)


def _do(cell: Cell, whole: bool, end: float) -> dict[str, Any] | None:
    start = time.time()
    if start > end:
        return None
    return {**do(_bench, cell, whole), "seconds": time.time() - start}


def main(arguments: list[str] | None = None) -> None:
    """Render, cut, train, measure, and write."""
    args, start = parse_arguments(arguments), time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    trunks, folder = trunks_of(args), Path(tempfile.mkdtemp())
    sizes = dict.fromkeys(SPLITS, args.test_per_class) | {"train": args.train_per_class}
    sizes["val"] = min(32, args.test_per_class)
    try:
        render_videos(folder, sizes, torch.device(args.device))
        print(f"{time.time() - start:5.0f} s  rendered", flush=True)
        make_clips(folder, args.epochs, args.recipes, args.kinds, args.strength, args.cut_processes)
        print(f"{time.time() - start:5.0f} s  cut and corrupted", flush=True)
        given = folder, trunks, args.device, args.kinds, args.attack_per_class
        with pool_of(args.processes, _begin, *given) as pool:
            table = Table(args, pool, start)
            rates = selected(table, args, trunks)
            records = table.make(final_cells(args, rates))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    setting = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    machine = torch.cuda.get_device_name() if args.device.startswith("cuda") else "a CPU"
    setting |= {"machine": machine, "torch": torch.__version__, "seconds": round(time.time() - start)}
    tried = [record for record in table.found if "clean" not in record]
    write_page(args.out, records, tried, setting)
    print(f"{time.time() - start:5.0f} s  {args.out}/robust_table.md", flush=True)


if __name__ == "__main__":
    main()
