"""Name the action in video files: the most probable classes of each, with their probabilities."""

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from videoadapt.cli._answers import print_bars, print_records, row_writer
from videoadapt.cli._command import EXIT_ERROR, EXIT_UNREADABLE, command, program
from videoadapt.cli._live import show_live
from videoadapt.cli._models import open_models
from videoadapt.cli._output import check_file
from videoadapt.cli._page import add_page_options, show_page
from videoadapt.cli._paths import place, place_text
from videoadapt.terminal import stop_if_pressed

if TYPE_CHECKING:
    from videoadapt.inference.many import Answered, Asking
    from videoadapt.inference.predictor import Predictor


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
    parser.add_argument(
        "--live",
        metavar="SOURCE",
        help="a camera by its index (0), or a stream by its URL (rtsp, http, udp and others)",
    )
    parser.add_argument(
        "--window-sec",
        type=float,
        metavar="SECONDS",
        help="with --live, --serve, --out and --gif: the length of a look",
    )
    parser.add_argument("--root", type=place, default=Path(), help="with --list: folder that its paths start from")
    parser.add_argument(
        "--run",
        type=place,
        metavar="FOLDER",
        help="run folder; default: the newest one below outputs/, else the quickstart's model that comes with videoadapt",
    )
    parser.add_argument(
        "--adapter",
        type=place,
        action="append",
        metavar="FILE",
        help="adapter.safetensors, or hf:USER/NAME, to use instead of a run folder; several of one backbone answer in one pass",
    )
    parser.add_argument(
        "--weights",
        type=place_text,
        metavar="BACKBONE",
        help="with --adapter: the weights that it was trained with, a file or a name (hf:...)",
    )
    parser.add_argument(
        "--onnx",
        type=place,
        metavar="FILE",
        help="a file of videoadapt export instead, which onnxruntime computes on the CPU",
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to show")
    parser.add_argument(
        "--reject",
        type=float,
        metavar="RATE",
        help="say `unknown` of videos that score lower than all but this share (0.05) of the known ones, which `videoadapt "
        "unknown RUN` has measured",
    )
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
    parser.add_argument(
        "--out",
        type=place,
        metavar="FILM",
        help="write the film, .mp4, .mov or .mkv, with its classes of each moment drawn on it",
    )
    parser.add_argument("--gif", type=place, metavar="FILE", help="the same as a small animation without sound")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="mark where and when the model looked: on the film of --out or --gif, by default <name>_explained.mp4 here, "
        "and on a contact sheet beside it, .png",
    )
    parser.add_argument("--label", metavar="CLASS", help="with --explain: for this class, not the most probable one")
    parser.add_argument(
        "--method", choices=("grad_cam", "relevance", "rollout"), help="with --explain: by which equation"
    )
    add_page_options(parser)
    args = parser.parse_args(arguments)
    _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if urls := [str(name) for name in args.video if re.match(r"\w{2,}:/", str(name))]:
        parser.error(f"{urls[0]}: a stream is given with --live, and no other video beside it")
    if args.live is not None and (
        args.video or args.list or args.csv or args.out or args.gif or args.explain or len(args.adapter or []) > 1
    ):
        parser.error("--live: goes with no video, --list, --csv, --out, --gif, --explain or second --adapter")
    others = (args.video, args.list, args.live is not None, args.csv, args.out, args.gif, args.explain, args.json)
    if args.serve is not None and any(others):
        parser.error("--serve: goes with no video, --list, --live, --csv, --out, --gif, --explain or --json")
    if not (args.live is not None or args.serve is not None or args.video or args.list):
        parser.error(
            "name a video, a folder or a pattern, or a list of them with --list, or a stream with --live; or --serve"
        )
    if sum(map(bool, (args.adapter, args.run, args.onnx))) > 1:
        parser.error("--adapter, --run and --onnx: give one of them")
    if args.onnx and (args.device == "cuda" or args.compile):
        parser.error("--onnx: goes with no --device cuda and no --compile")
    if args.weights and not args.adapter:
        parser.error("--weights: goes with --adapter")
    if (args.out or args.gif or args.explain) and (len(args.video) != 1 or args.list or len(args.adapter or []) > 1):
        parser.error("--out, --gif and --explain: are of one film, and of one run or adapter")
    if args.reject is not None and (
        args.adapter or args.live is not None or args.serve is not None or args.out or args.gif or args.explain
    ):
        parser.error("--reject: goes with a run, and with no --adapter, --live, --serve, --out, --gif or --explain")
    if args.explain and args.onnx:
        parser.error("--explain: goes with no --onnx, which gives no gradients")
    if not args.explain and (args.label is not None or args.method):
        parser.error("--label and --method: go with --explain")
    if args.explain and not args.out and not args.gif:
        args.out = Path(f"{Path(args.video[0].name.partition('#')[0]).stem}_explained.mp4")
    if args.top < 1:
        parser.error(f"--top {args.top}: allowed: 1 or more")


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Predict every video and return the exit code, as `--help` explains it."""
    args = parse_arguments(arguments)
    if args.serve is not None:
        return show_page(args)
    from videoadapt.inference.sources import videos_listed, videos_named
    from videoadapt.video.decoders import reads_folders, reads_pictures

    _check_targets(args)
    listed = videos_listed(args.list, args.root) if args.list else []
    sources, opened, asking = open_models(
        args.run, args.adapter, args.weights, args.device, args.compile, args.fps_hz, args.onnx
    )
    if args.reject is not None:  # of a run: with adapters it is refused
        asking = cast("Predictor", opened).asking_with(args.reject)
    if args.live is not None:
        return show_live(asking, args.live, args.top, args.window_sec, args.json)
    decoder = asking.config.data.decoder
    named = videos_named(args.video, reads_folders(decoder), "images" if reads_pictures(decoder) else "videos")
    videos = list(dict.fromkeys([*named, *listed]))
    num_unreadable = _answer(args, videos, sources, asking)
    if (args.out or args.gif) and not num_unreadable:
        (_explain if args.explain else _draw)(args, videos[0], cast("Predictor", opened))
    asking.other_rates.say()
    return EXIT_ERROR if num_unreadable == len(videos) else EXIT_UNREADABLE if num_unreadable else 0


def _check_targets(args: argparse.Namespace) -> None:
    for name in ("csv", "out", "gif"):
        if (path := getattr(args, name)) is not None:
            check_file(f"--{name}", path)
    if args.out:
        from videoadapt.video.rewriting import container_of

        container_of(args.out)


def _answer(args: argparse.Namespace, videos: list[Path], sources: list[dict[str, str]], asking: "Asking") -> int:
    """Show what is said of each video, and return how many cannot be read."""
    from videoadapt.log import progress

    num_unreadable = 0
    with ExitStack() as opened:
        show: list[Callable[[Answered], None]] = []
        if args.json or not args.csv:
            show.append(partial(print_records if args.json else print_bars, sources=sources))
        if args.csv:
            # rows as they come: what a stop interrupts has those so far
            file = opened.enter_context(args.csv.open("w", encoding="utf-8", errors="backslashreplace", newline=""))
            show.append(row_writer(file, sources, args.top, asking.tasks[0].labels == "multi", args.reject is not None))
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
    if args.csv:
        sys.stderr.write(f"{args.csv}: {len(videos)} videos, {num_unreadable} of them cannot be read\n")
    return num_unreadable


def _draw(args: argparse.Namespace, video: Path, predictor: "Predictor") -> None:
    from videoadapt.inference.captions import annotate

    num_frames = annotate(predictor, video, args.out, args.gif, window_sec=args.window_sec)
    for path in filter(None, (args.out, args.gif)):
        sys.stderr.write(f"{path}: written, from {num_frames} frames\n")


def _explain(args: argparse.Namespace, video: Path, predictor: "Predictor") -> None:
    from videoadapt.inference.explaining.films import explain_film

    sheet = (args.out or args.gif).with_suffix(".png")
    named: str | None = args.label
    is_number = named is not None and named.isdecimal() and named not in predictor.class_names
    label = int(named) if named is not None and is_number else named
    predictor.explain(video, label, method=args.method or "grad_cam").save(sheet)
    sys.stderr.write(f"{sheet}: written\n")
    how = {"label": label, "method": args.method or "grad_cam", "window_sec": args.window_sec}
    num_frames = explain_film(predictor, video, args.out, args.gif, **how)
    for path in filter(None, (args.out, args.gif)):
        sys.stderr.write(f"{path}: written, from {num_frames} frames\n")
