"""Name the action in video files: the most probable classes of each, with their probabilities."""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from videoadapt.cli._answers import print_bars, print_records, row_writer
from videoadapt.cli._command import EXIT_ERROR, EXIT_UNREADABLE, command, program
from videoadapt.cli._output import check_file
from videoadapt.cli._paths import place, place_text
from videoadapt.terminal import stop_if_pressed

if TYPE_CHECKING:
    from videoadapt.inference.many import Answered, Asking


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("demo"),
        description=__doc__,
        epilog="Exit code: 0 when every video has an answer, 3 when some cannot be read, 2 when none can, or something else is "
        "wrong. Videos that cannot be read are named on stderr, and in the records of --json and --csv.",
    )
    parser.add_argument(
        "video",
        nargs="*",
        type=place,
        help="video files, or parts of them: film.mp4#t=1.5,4; folders, for all videos below; patterns: 'clips/*.mp4'",
    )
    parser.add_argument(
        "--list", type=place, metavar="FILE", help="a list of more videos: a path on each line, or a list for training"
    )
    parser.add_argument("--root", type=place, default=Path(), help="with --list: folder that its paths start from")
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
        help="with --adapter: the weights that it was trained with, a file or a name (hf:...)",
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
    parser.add_argument(
        "--csv", type=place, metavar="FILE", help="write a row a video with its --top classes, instead of printing them"
    )
    args = parser.parse_args(arguments)
    if not args.video and not args.list:
        parser.error("name a video, a folder or a pattern, or give a list of them with --list")
    if args.adapter and args.run:
        parser.error("--adapter and --run: give one of them")
    if args.weights and not args.adapter:
        parser.error("--weights: goes with --adapter")
    if args.top < 1:
        parser.error(f"--top {args.top}: allowed: 1 or more")
    return args


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Predict every video and return the exit code, as `--help` explains it."""
    args = parse_arguments(arguments)
    from videoadapt.inference.sources import videos_listed, videos_named
    from videoadapt.log import progress
    from videoadapt.video.decoders import reads_folders, reads_pictures

    if args.csv:
        check_file("--csv", args.csv)
    listed = videos_listed(args.list, args.root) if args.list else []
    sources, asking = _open(args)
    decoder = asking.config.data.decoder
    named = videos_named(args.video, reads_folders(decoder), "images" if reads_pictures(decoder) else "videos")
    videos = list(dict.fromkeys([*named, *listed]))
    num_unreadable = 0
    with ExitStack() as opened:
        show: list[Callable[[Answered], None]] = []
        if args.json or not args.csv:
            show.append(partial(print_records if args.json else print_bars, sources=sources))
        if args.csv:
            # rows as they come: what a stop interrupts has those so far
            file = opened.enter_context(args.csv.open("w", encoding="utf-8", errors="backslashreplace", newline=""))
            show.append(row_writer(file, sources, args.top, several=asking.tasks[0].labels == "multi"))
        prints_here = (args.json or not args.csv) and sys.stdout.isatty()
        with_bar = sys.stderr.isatty() and not prints_here
        line = opened.enter_context(progress("demo", len(videos), "videos")) if with_bar else None
        for said in asking.each(videos, args.top):
            stop_if_pressed()
            if said.error is not None:
                sys.stderr.write(f"error: {said.error}\n")
                num_unreadable += 1
            for shown in show:
                shown(said)
            if line is not None:
                line.advance(f"{num_unreadable} cannot be read" if num_unreadable else "")
    asking.other_rates.say()
    if args.csv:
        sys.stderr.write(f"{args.csv}: {len(videos)} videos, {num_unreadable} of them cannot be read\n")
    return EXIT_ERROR if num_unreadable == len(videos) else EXIT_UNREADABLE if num_unreadable else 0


def _open(args: argparse.Namespace) -> "tuple[list[dict[str, str]], Asking]":
    """Who is asked, {"run": folder} or {"adapter": file} each, and how."""
    from videoadapt.distributed import choose_device
    from videoadapt.inference.adapter_bank import AdapterBank
    from videoadapt.inference.predictor import Predictor, asking_tasks
    from videoadapt.runs.folder import newest_run

    device = choose_device(args.device)
    if not args.adapter:
        folder = args.run or newest_run(Path("outputs"))
        return [{"run": str(folder)}], Predictor.from_run(folder, device, args.compile, args.fps_hz).asking
    sources = [{"adapter": str(path)} for path in args.adapter]
    if len(sources) == 1:
        adapter, weights = args.adapter[0], args.weights
        return sources, Predictor.from_adapter(adapter, weights, device, args.compile, args.fps_hz).asking
    return sources, asking_tasks(AdapterBank.from_files(args.adapter, args.weights, args.fps_hz).to(device), device)
