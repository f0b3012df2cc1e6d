"""Say what the adapters of a run changed: their branches' sizes, features before and after, tokens that moved most."""

import argparse
import sys
from pathlib import Path

from videoadapt.cli._command import EXIT_UNREADABLE, command, program
from videoadapt.cli._options import add_device, add_run
from videoadapt.cli._output import check_folder
from videoadapt.cli._paths import place, place_text
from videoadapt.errors import counted


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("inspect"),
        description=__doc__,
        epilog="Writes inspect.png and inspect.json into the run's folder, from videos of its test list (docs/explaining.md).",
    )
    add_run(parser, "run folder, or adapter.safetensors")
    parser.add_argument(
        "--weights", type=place_text, metavar="BACKBONE", help="with adapter.safetensors: its backbone's weights"
    )
    parser.add_argument("--list", type=place_text, metavar="LIST", help="of other videos; default: the run's data.test")
    parser.add_argument("--root", type=place, metavar="FOLDER", help="where its videos are now; default: data.root")
    parser.add_argument("--videos", type=int, default=64, metavar="N", help="so many, evenly spread over the list (64)")
    parser.add_argument("--out", type=place, metavar="FOLDER", help="for the two files, instead of the run's folder")
    add_device(parser)
    args = parser.parse_args(arguments)
    if args.videos < 1:
        parser.error(f"--videos {args.videos}: allowed: 1 or more")
    return args


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Write both files and return the exit code: 3 when some videos cannot be read (they are left out)."""
    args = parse_arguments(arguments)
    from videoadapt.api import load
    from videoadapt.data.chosen_rows import spread
    from videoadapt.errors import ConfigError
    from videoadapt.files import write_json
    from videoadapt.inference.adapter_effects import measure
    from videoadapt.inference.adapter_picture import write_effects
    from videoadapt.log import setup_logging
    from videoadapt.paths import is_folder
    from videoadapt.runs.given_lists import load_given
    from videoadapt.runs.test_lists import own_list

    setup_logging()
    out: Path = args.out or (args.run if is_folder(args.run) else Path())
    check_folder("--out", out)
    model = str(args.run) if str(args.run).startswith("package:") else args.run
    predictor = load(model, weights=args.weights, device=args.device)
    data = predictor.config.data
    own = own_list(data)
    if args.list is not None:
        source = args.list
    elif own is not None:
        source = own.list
    else:
        raise ConfigError(
            f"{args.run}: names no test list (data.test), whose videos are looked at; give one with --list"
        )
    listed = load_given(source, args.root or data.root or Path(), data)
    videos = spread(listed, args.videos)
    found = measure(predictor, videos)
    for item in found.unreadable:
        sys.stderr.write(f"left out, cannot be read: {item.video.id}: {item.reason}\n")
    number = len(videos) - len(found.unreadable)
    write_json(out / "inspect.json", {"videos": number, "blocks": [block.as_dict() for block in found.blocks]})
    title = f"{args.run}: what its adapters changed, {counted(number, 'test video')}"
    write_effects(out / "inspect.png", title, found.blocks, found.shown)
    sys.stdout.write(f"{out / 'inspect.png'}, {out / 'inspect.json'}: of {counted(number, 'video')}\n")
    return EXIT_UNREADABLE if found.unreadable else 0
