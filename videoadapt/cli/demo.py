"""Name the action in video files: the most probable classes of each, with their probabilities."""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from videoadapt.cli._answers import print_bars, print_records, row_writer
from videoadapt.cli._command import EXIT_ERROR, EXIT_UNREADABLE, command, program
from videoadapt.cli._demo_options import add_answers, add_films, add_model, add_question, add_videos, check
from videoadapt.cli._live import show_live
from videoadapt.cli._models import open_models
from videoadapt.cli._output import check_file, check_not_read
from videoadapt.cli._page import add_page_options, show_page
from videoadapt.errors import DecodeError, counted
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
    for add in (add_videos, add_model, add_question, add_answers, add_films, add_page_options):
        add(parser)
    args = parser.parse_args(arguments)
    check(parser, args)
    return args


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Predict every video and return the exit code, as `--help` explains it."""
    args = parse_arguments(arguments)
    if args.serve is not None:
        return show_page(args)
    from videoadapt.inference.sources import videos_listed, videos_named
    from videoadapt.video.decoders import reads_folders, reads_pictures

    _check_targets(args)
    sources, opened, asking = open_models(
        args.run, args.adapter, args.weights, args.device, args.compile, args.fps_hz, args.onnx
    )
    if args.reject is not None:  # of a run: with adapters it is refused
        asking = cast("Predictor", opened).asking_with(args.reject)
    if args.live is not None:
        return show_live(asking, args.live, args.top, args.window_sec, args.json)
    decoder = asking.config.data.decoder
    named = videos_named(args.video, reads_folders(decoder), "images" if reads_pictures(decoder) else "videos")
    listed = videos_listed(args.list, args.root or Path(), asking.config.data) if args.list else []
    videos = list(dict.fromkeys([*named, *listed]))
    _check_kept(args, videos)
    num_unreadable = _answer(args, videos, sources, asking)
    asking.other_rates.say()  # before a film is looked at a second time
    if (args.out or args.gif) and not num_unreadable:
        (_explain if args.explain else _draw)(args, videos[0], cast("Predictor", opened))
    return EXIT_ERROR if num_unreadable == len(videos) else EXIT_UNREADABLE if num_unreadable else 0


def _check_targets(args: argparse.Namespace) -> None:
    for name in ("csv", "out", "gif"):
        if (path := getattr(args, name)) is not None:
            check_file(f"--{name}", path)
            check_not_read(f"--{name}", path, filter(None, (args.weights, args.onnx, *(args.adapter or ()))))
    if args.out:
        from videoadapt.video.rewriting import container_of

        container_of(args.out)


def _check_kept(args: argparse.Namespace, videos: list[Path]) -> None:
    from videoadapt.inference.videos import film_and_part

    read = [args.list] if args.list else []
    for video in videos:
        with suppress(DecodeError):  # of seconds that are no part, which its answer says
            read.append(film_and_part(video)[0])
    sheet = (args.out or args.gif).with_suffix(".png") if args.explain else None
    for name, path in (("csv", args.csv), ("out", args.out), ("gif", args.gif), ("explain", sheet)):
        if path is not None:
            check_not_read(f"--{name}", path, read)


def _answer(args: argparse.Namespace, videos: list[Path], sources: list[dict[str, str]], asking: "Asking") -> int:
    """Show what is said of each video, and return how many cannot be read."""
    from videoadapt.files import open_text
    from videoadapt.log import progress

    num_unreadable = 0
    with ExitStack() as opened:
        show: list[Callable[[Answered], None]] = []
        if args.json or not args.csv:
            show.append(partial(print_records if args.json else print_bars, sources=sources))
        if args.csv:
            # rows as they come: what a stop interrupts has those so far
            file = opened.enter_context(open_text(args.csv, "w", newline=""))
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
        sys.stderr.write(f"{args.csv}: {counted(len(videos), 'video')}, {num_unreadable} of them cannot be read\n")
    return num_unreadable


def _draw(args: argparse.Namespace, video: Path, predictor: "Predictor") -> None:
    from videoadapt.inference.captions import annotate

    num_frames = annotate(predictor, video, args.out, args.gif, window_sec=args.window_sec)
    for path in filter(None, (args.out, args.gif)):
        sys.stderr.write(f"{path}: written, from {counted(num_frames, 'frame')}\n")


def _explain(args: argparse.Namespace, video: Path, predictor: "Predictor") -> None:
    from videoadapt.inference.explaining.films import explain_film
    from videoadapt.video.decoders import reads_folders, reads_pictures

    sheet = (args.out or args.gif).with_suffix(".png")
    named: str | None = args.label
    is_number = named is not None and named.isdecimal() and named not in predictor.class_names
    label = int(named) if named is not None and is_number else named
    predictor.explain(video, label, method=args.method or "grad_cam").save(sheet)
    sys.stderr.write(f"{sheet}: written\n")
    decoder = predictor.config.data.decoder
    if reads_pictures(decoder) and not reads_folders(decoder):
        return  # there is no film of it
    how = {"label": label, "method": args.method or "grad_cam", "window_sec": args.window_sec}
    num_frames = explain_film(predictor, video, args.out, args.gif, **how)
    for path in filter(None, (args.out, args.gif)):
        sys.stderr.write(f"{path}: written, from {counted(num_frames, 'frame')}\n")
