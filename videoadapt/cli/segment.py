"""Say what happens when in films: segments of every action, with a picture of the probabilities over time."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from videoadapt.cli._command import EXIT_ERROR, EXIT_UNREADABLE, command, program
from videoadapt.cli._models import open_model
from videoadapt.cli._options import add_device, check_model
from videoadapt.cli._output import check_folder
from videoadapt.cli._paths import place, place_text
from videoadapt.terminal import stop_if_pressed

if TYPE_CHECKING:
    from videoadapt.inference.segments import Segment


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("segment"),
        description=__doc__,
        epilog="OUT/<name of the film>/ holds segments.csv, segments.json, timeline.png and timeline.npz, OUT/detections.json "
        "all segments in ActivityNet's layout. Exit code: 0, 3 when some films cannot be read, 2 when none can.",
    )
    parser.add_argument(
        "film", nargs="+", type=place, help="films, parts of them (film.mp4#t=60,120), folders, patterns"
    )
    parser.add_argument("--out", type=place, default=Path("segments"), metavar="FOLDER", help="default: segments")
    parser.add_argument(
        "--run",
        type=place,
        metavar="FOLDER",
        help="run folder; default: the newest one below outputs/, else the quickstart's model",
    )
    parser.add_argument(
        "--adapter", type=place, metavar="FILE", help="adapter.safetensors to use instead of a run folder"
    )
    parser.add_argument(
        "--weights", type=place_text, metavar="BACKBONE", help="with --adapter: its backbone's weight file"
    )
    parser.add_argument("--onnx", type=place, metavar="FILE", help="a file of videoadapt export instead, on the CPU")
    add_device(parser)
    parser.add_argument("--fps-hz", type=float, metavar="RATE", help="see films at this rate (data.sampling.fps_hz)")
    windows = parser.add_argument_group("windows")
    windows.add_argument("--every-sec", type=float, metavar="S", help="from window to window; default: half a window")
    windows.add_argument("--window-sec", type=float, metavar="S", help="length; default: that of the trained clips")
    windows.add_argument("--crops", type=int, metavar="N", help="crops of a window; default: those of the run's test")
    cut = parser.add_argument_group("segments")
    cut.add_argument("--on", type=float, metavar="P", help="probability that a segment reaches; default: 0.5, of several "
                     "labels the class's threshold")  # fmt: skip
    cut.add_argument("--off", type=float, metavar="P", help="probability below which it ends; default: 0.6 of --on")
    cut.add_argument("--smooth-sec", type=float, metavar="S", help="mean of probabilities over it; default: a window")
    cut.add_argument("--least-sec", type=float, metavar="S", help="shorter segments go; default: half a window")
    parser.add_argument("--json", action="store_true", help="print one JSON object a film, with `segments` or `error`")
    args = parser.parse_args(arguments)
    check_model(parser, args)
    return args


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Cut every film and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.distributed import choose_device
    from videoadapt.errors import DecodeError
    from videoadapt.inference.segments import Cut, segments_of
    from videoadapt.inference.sources import videos_named
    from videoadapt.inference.timeline_files import as_record, write_detections, write_timeline
    from videoadapt.inference.windows import Slide
    from videoadapt.log import setup_logging
    from videoadapt.video.decoders import reads_folders

    setup_logging()
    check_folder("--out", args.out)
    cut = Cut(args.on, args.off, args.smooth_sec, args.least_sec)
    cut.check()
    Slide(args.every_sec, args.window_sec, args.crops).check()
    device = choose_device(args.device)
    _, predictor = open_model(args.run, args.adapter, args.weights, device, fps_hz=args.fps_hz, onnx=args.onnx)
    films = videos_named(args.film, reads_folders(predictor.config.data.decoder))
    names = _names_of(films)
    found: dict[str, list[Segment]] = {}
    for film, name in zip(films, names, strict=True):
        stop_if_pressed()
        try:
            timeline = predictor.timeline(film, every_sec=args.every_sec, window_sec=args.window_sec, crops=args.crops)
        except DecodeError as error:
            sys.stderr.write(f"error: {error}\n")
            if args.json:
                print(json.dumps({"video": str(film), "error": str(error)}, ensure_ascii=False))
            continue
        found[name] = segments_of(timeline, predictor.answers, cut)
        write_timeline(args.out / name, timeline, found[name], predictor.class_names, args.smooth_sec)
        if args.json:
            print(json.dumps(as_record(timeline, found[name]), ensure_ascii=False))
        else:
            _print_segments(film, args.out / name, found[name])
        write_detections(args.out / "detections.json", found)  # at once: a stop loses no film
    return EXIT_ERROR if not found else EXIT_UNREADABLE if len(found) < len(films) else 0


def _names_of(films: list[Path]) -> list[str]:
    """What the folder of each film is called: its name without suffix, ActivityNet's id. Raises ConfigError for two alike."""
    from videoadapt.errors import ConfigError
    from videoadapt.video.part import stem_of

    names = [stem_of(film) for film in films]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two films are called {twice}, and their results would have one name; cut them in two calls")
    return names


def _print_segments(film: Path, folder: Path, segments: "list[Segment]") -> None:
    print(f"{film}  ({folder})")
    for s in segments:
        print(f"  {s.start_sec:9.2f} to {s.end_sec:9.2f} s  {100 * s.confidence:6.2f} %  {s.name}")
    if not segments:
        print("  nothing: no class is as probable as --on")
