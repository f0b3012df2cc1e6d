"""Predict a video's action: `python tools/demo.py video.mp4` prints the five most probable classes."""

import argparse
import json
import sys
from pathlib import Path


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", nargs="+", type=Path, help="video files")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="run folder; default: the newest one below outputs/")
    parser.add_argument(
        "--adapter",
        type=Path,
        action="append",
        metavar="FILE",
        help="adapter.safetensors to use instead of a run folder; several of one trunk answer in one pass",
    )
    parser.add_argument("--weights", metavar="TRUNK", help="with --adapter: the weight file that it was trained with")
    parser.add_argument("--top", type=int, default=5, help="how many classes to show")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object a video")
    args = parser.parse_args(arguments)
    if args.adapter and args.run:
        parser.error("--adapter and --run: give one of them")
    if args.weights and not args.adapter:
        parser.error("--weights: goes with --adapter")
    return args


def main(arguments: list[str] | None = None) -> int:
    """Predict every video and return the exit code: 2 when the run or a video cannot be used."""
    args = parse_arguments(arguments)
    from videoadapt.distributed import choose_device
    from videoadapt.errors import DecodeError, VideoAdaptError
    from videoadapt.inference.adapter_bank import AdapterBank
    from videoadapt.inference.predictor import Predictor, predict_tasks
    from videoadapt.runs.folder import newest_run

    try:
        device = choose_device(args.device)
        if args.adapter and len(args.adapter) > 1:
            bank = AdapterBank.from_files(args.adapter, args.weights).to(device)
            sources = [{"adapter": str(path)} for path in args.adapter]
        elif args.adapter:
            predictor = Predictor.from_adapter(args.adapter[0], args.weights, device)
            sources = [{"adapter": str(args.adapter[0])}]
        else:
            folder = args.run or newest_run(Path("outputs"))
            predictor = Predictor.from_run(folder, device)
            sources = [{"run": str(folder)}]
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    code = 0
    for video in args.video:
        try:
            answers = (
                predict_tasks(bank, device, video, args.top)
                if len(sources) > 1
                else [predictor.predict(video, args.top)]
            )
        except DecodeError as error:
            sys.stderr.write(f"error: {error}\n")
            code = 2
            continue
        for source, predictions in zip(sources, answers, strict=True):
            if args.json:
                best = [{"label": p.label, "name": p.name, "probability": p.probability} for p in predictions]
                line = {"video": str(video), **source, "predictions": best}
                sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
                continue
            sys.stdout.write(f"{video}  ({' '.join(*source.items())})\n")
            width = max(len(p.name) for p in predictions)
            for p in predictions:
                bar = "#" * round(30 * p.probability)
                sys.stdout.write(f"  {100 * p.probability:6.2f} %  {p.name:<{width}}  {bar}\n")
    return code
