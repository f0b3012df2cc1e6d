"""Name the action in video files: the most probable classes of each, with their probabilities."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoadapt.cli._command import EXIT_ERROR, command, program
from videoadapt.cli._paths import place, place_text
from videoadapt.terminal import stop_if_pressed

if TYPE_CHECKING:
    from videoadapt.inference.predictor import Predictor
    from videoadapt.runs.rates import OtherRates


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=program("demo"), description=__doc__)
    parser.add_argument("video", nargs="+", type=place, help="video files, or parts of them: film.mp4#t=1.5,4")
    parser.add_argument(
        "--run", type=place, metavar="FOLDER", help="run folder; default: the newest one below outputs/"
    )
    parser.add_argument(
        "--adapter",
        type=place,
        action="append",
        metavar="FILE",
        help="adapter.safetensors to use instead of a run folder; several of one backbone answer in one pass",
    )
    parser.add_argument(
        "--weights",
        type=place_text,
        metavar="BACKBONE",
        help="with --adapter: the weight file that it was trained with",
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to show")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--fps-hz", type=float, metavar="RATE", help="see videos at this rate (data.sampling.fps_hz)")
    parser.add_argument("--compile", action="store_true", help="faster passes after a minute's wait, for many videos")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object a video, with `damaged_frames` (null: the decoder cannot tell), or `error`",
    )
    args = parser.parse_args(arguments)
    if args.adapter and args.run:
        parser.error("--adapter and --run: give one of them")
    if args.weights and not args.adapter:
        parser.error("--weights: goes with --adapter")
    if args.top < 1:
        parser.error(f"--top {args.top}: allowed: 1 or more")
    return args


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Predict every video and return the exit code: 2 when the run or a video cannot be used."""
    args = parse_arguments(arguments)
    from videoadapt.errors import DecodeError

    sources, predict, other_rates = _open(args)
    code = 0
    for video in args.video:
        stop_if_pressed()
        try:
            answers, damaged = predict(video)
        except DecodeError as error:
            sys.stderr.write(f"error: {error}\n")
            code = EXIT_ERROR
            # one record for each video and source, so that what reads them need not guess which is missing
            if args.json:
                for source in sources:
                    _print_record({"video": str(video), **source, "error": str(error)})
            continue
        for source, predictions in zip(sources, answers, strict=True):
            if args.json:
                _print_json(video, source, predictions, damaged)
            else:
                _print_bars(video, source, predictions)
    other_rates.say()
    return code


def _open(
    args: argparse.Namespace,
) -> tuple[list[dict[str, str]], Callable[[Path], tuple[list[Any], int | None]], "OtherRates"]:
    """What is asked, {"run": folder} or {"adapter": file} each, and a function from a video to the answer of each.

    Beside the answers it gives the number of damaged frames, None where the decoder cannot tell. The last is where it notes
    videos of other rates than the training's.
    """
    from videoadapt.distributed import choose_device
    from videoadapt.inference.adapter_bank import AdapterBank
    from videoadapt.inference.predictor import Predictor, predict_tasks
    from videoadapt.runs.folder import newest_run

    device = choose_device(args.device)
    if not args.adapter:
        folder = args.run or newest_run(Path("outputs"))
        predictor = Predictor.from_run(folder, device, args.compile, args.fps_hz)
        return [{"run": str(folder)}], *_alone(predictor, args.top)
    sources = [{"adapter": str(path)} for path in args.adapter]
    if len(sources) == 1:
        predictor = Predictor.from_adapter(args.adapter[0], args.weights, device, args.compile, args.fps_hz)
        return sources, *_alone(predictor, args.top)
    bank = AdapterBank.from_files(args.adapter, args.weights, args.fps_hz).to(device)
    return sources, lambda video: predict_tasks(bank, device, video, args.top), bank.other_rates


def _alone(predictor: "Predictor", top: int) -> tuple[Callable[[Path], tuple[list[Any], int | None]], "OtherRates"]:
    """The answers of the only source as those of several are given, and where it notes rates."""

    def predict(video: Path) -> tuple[list[Any], int | None]:
        answer, damaged = predictor.predict_with_damage(video, top)
        return [answer], damaged

    return predict, predictor.other_rates


def _print_json(video: Path, source: dict[str, str], predictions: list[Any], damaged: int | None) -> None:
    best = [
        {"label": p.label, "name": p.name, "probability": p.probability}
        | ({} if p.is_there is None else {"is_there": p.is_there})
        for p in predictions
    ]
    _print_record({"video": str(video), **source, "predictions": best, "damaged_frames": damaged})


def _print_record(record: dict[str, Any]) -> None:
    print(json.dumps(record, ensure_ascii=False))


def _print_bars(video: Path, source: dict[str, str], predictions: list[Any]) -> None:
    print(f"{video}  ({' '.join(*source.items())})")
    from rich.cells import cell_len  # a letter of Chinese takes two columns

    width = max(cell_len(p.name) for p in predictions)
    for p in predictions:
        space = " " * (width - cell_len(p.name))
        mark = "" if p.is_there is None else "* " if p.is_there else "  "
        print(f"  {100 * p.probability:6.2f} %  {mark}{p.name}{space}  {'#' * round(30 * p.probability)}")
