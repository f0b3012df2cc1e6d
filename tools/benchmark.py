"""Measure ratios within one run, median of several: `python tools/benchmark.py bank --video clip.mp4`."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("bank",), help="bank: K adapters in one pass against K runs one by one")
    parser.add_argument("--video", type=Path, required=True, help="a video file to predict")
    parser.add_argument("--tasks", type=int, default=8, metavar="K")
    parser.add_argument("--size", default="base", help="size of the vit, with random weights")
    parser.add_argument("--first-block", type=int, default=0, help="first block that has an adapter")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print one JSON object and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import VideoAdaptError

    try:
        result = bench_bank(args)
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def bench_bank(args: argparse.Namespace) -> dict[str, object]:
    """Seconds for a video and K tasks: one bank, and K predictors in turn, measured alternately."""
    import torch

    from videoadapt.adapter_bank import AdapterBank
    from videoadapt.adapter_file import save_adapter
    from videoadapt.backbones.vit import SIZES
    from videoadapt.config import Config, ModelConfig, TestConfig
    from videoadapt.inference import Predictor, predict_tasks
    from videoadapt.run import build_seeded_model, choose_device

    device = choose_device(args.device)
    blocks = list(range(args.first_block, SIZES[args.size].depth))
    adapter = {"name": "adaptformer", "bottleneck": 64, "blocks": blocks}
    model = ModelConfig(backbone={"name": "vit", "size": args.size}, adapter=adapter)
    config = Config(output=Path(), model=model, test=TestConfig(clips=1, crops=1))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.safetensors" for number in range(args.tasks)]
        for number, path in enumerate(paths):
            adapted = build_seeded_model(config, num_classes=51)
            torch.manual_seed(number + 1)
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.data.normal_(std=0.02)
            save_adapter(adapted, config, [str(label) for label in range(51)], path)
        bank = AdapterBank.from_files(paths).to(device)
        predictors = [Predictor.from_adapter(path, None, device) for path in paths]

    def together() -> None:
        predict_tasks(bank, device, args.video)

    def one_by_one() -> None:
        for predictor in predictors:
            predictor.predict(args.video)

    bank_sec, single_sec = alternate([together, one_by_one], args.repeats)
    return {
        "tasks": args.tasks,
        "first_block": args.first_block,
        "size": args.size,
        "device": str(device),
        "bank_sec": bank_sec,
        "one_by_one_sec": single_sec,
        "ratio": single_sec / bank_sec,
    }


def alternate(functions: list[Callable[[], None]], repeats: int) -> list[float]:
    """Median seconds of each function, called in turn so that a noisy moment hits all; one round of warm-up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, values in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if repeat:
                values.append(time.perf_counter() - start)
    return [statistics.median(values) for values in seconds]


if __name__ == "__main__":
    sys.exit(main())
