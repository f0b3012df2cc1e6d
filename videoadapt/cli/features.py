"""Write pooled features of every video in a list to one file, from a trained run or from a config's frozen backbone."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from videoadapt.cli._command import EXIT_UNREADABLE, command, program
from videoadapt.cli._options import add_device
from videoadapt.cli._output import check_file, check_folder, check_not_read
from videoadapt.cli._paths import place, place_text
from videoadapt.errors import counted

if TYPE_CHECKING:
    from videoadapt.inference.predictor import Predictor


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("features"),
        description=__doc__,
        epilog="The file holds features (N, D), label (N), video_id (N): arrays of an .npz, or tensors and metadata of a "
        ".safetensors. A feature is the mean over a video's views of what the head sees.",
    )
    parser.add_argument("out", type=place, help="file to write, .npz or .safetensors")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=place, metavar="FOLDER", help="run folder")
    source.add_argument(
        "--cfg", metavar="CONFIG", help="as for train: its backbone with `model.weights`, nothing trained"
    )
    parser.add_argument("--list", required=True, type=place_text, help="list of `path label` rows")
    parser.add_argument("--root", type=place, default=Path(), help="folder that the paths of the list start from")
    parser.add_argument(
        "--every-sec",
        type=float,
        metavar="S",
        help="features of films at this distance: OUT is a folder for <film>.npy (T, C) and features.json (docs/long_films.md)",
    )
    parser.add_argument("--window-sec", type=float, metavar="S", help="with --every-sec: seconds that a feature is of")
    parser.add_argument("--clips", type=int, help="temporal clips a video; default: those of the run's test")
    parser.add_argument("--crops", type=int, help="spatial crops a clip; default: those of the run's test")
    add_device(parser)
    args = parser.parse_args(arguments)
    if args.window_sec is not None and args.every_sec is None:
        parser.error("--window-sec: goes with --every-sec")
    if args.every_sec is not None and args.clips not in (None, 1):
        parser.error("--clips: with --every-sec a window is one clip")
    return args


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Extract and return the exit code: 2 for an error, 3 when some videos cannot be read (they are left out)."""
    args = parse_arguments(arguments)
    from videoadapt.config.schema import MOST_CLIPS, MOST_CROPS
    from videoadapt.config.shipped import find_list
    from videoadapt.distributed import choose_device
    from videoadapt.errors import check_count
    from videoadapt.inference.features import write_features
    from videoadapt.inference.predictor import Predictor
    from videoadapt.inference.windows import Slide
    from videoadapt.log import setup_logging

    setup_logging()
    for name, value, most in (("--clips", args.clips, MOST_CLIPS), ("--crops", args.crops, MOST_CROPS)):
        if value is not None:
            check_count(name, value, most=most)
    Slide(args.every_sec, args.window_sec).check()
    if args.every_sec is None:
        check_file("OUT", args.out)
        check_not_read("OUT", args.out, [find_list(args.list)])
    else:
        check_folder("OUT", args.out)
    device = choose_device(args.device)
    opened = Predictor.from_run(args.run, device) if args.run else Predictor.from_config(Path(args.cfg), device)
    if args.every_sec is not None:
        return _at_a_stride(args, opened)
    check_not_read("OUT", args.out, [opened.config.model.weights or ""])  # known only now
    test = opened.config.test
    clips, crops = args.clips or test.clips, args.crops or test.crops
    num_written, unreadable = write_features(opened, str(find_list(args.list)), args.root, clips, crops, args.out)
    for item in unreadable:
        sys.stderr.write(f"left out, cannot be read: {item.video.id}: {item.reason}\n")
    print(f"{args.out}: features of {counted(num_written, 'video')}, {clips} x {crops} views of each")
    return EXIT_UNREADABLE if unreadable else 0


def _at_a_stride(args: argparse.Namespace, opened: "Predictor") -> int:
    from videoadapt.config.shipped import find_list
    from videoadapt.inference.film_features import write_film_features
    from videoadapt.inference.sources import videos_listed
    from videoadapt.video.part import stem_of

    source = find_list(args.list)
    films = videos_listed(source, args.root, opened.config.data)
    for path in (args.out / "features.json", *(args.out / f"{stem_of(film)}.npy" for film in films)):
        check_not_read("OUT", path, [source, *films])
    num_unreadable = 0
    for _, reason in write_film_features(opened, films, args.out, args.every_sec, args.window_sec, args.crops):
        if reason is not None:
            sys.stderr.write(f"left out, cannot be read: {reason}\n")
            num_unreadable += 1
    print(f"{args.out}: features of {counted(len(films) - num_unreadable, 'film')}")
    return EXIT_UNREADABLE if num_unreadable else 0
