"""Bring a weight file or folder of any known format into ours, VideoMAE's or Hugging Face's; say what it holds."""

import argparse
from pathlib import Path

from videoadapt.cli._command import command, program
from videoadapt.cli._output import check_file, check_folder, check_not_read
from videoadapt.cli._paths import place, place_text


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("convert"), description=__doc__, epilog="Formats and where to get files: docs/weights.md."
    )
    parser.add_argument(
        "source",
        type=place_text,
        metavar="IN",
        help="weight file, Hugging Face folder, or a name: hf:MCG-NJU/videomae-base",
    )
    parser.add_argument("out", type=place, metavar="OUT", help="ends in .safetensors or .pth; a folder for huggingface")
    parser.add_argument("--to", default="videoadapt", choices=("videoadapt", "videomae", "huggingface"))
    parser.add_argument("--num-heads", type=int, help="for a Hugging Face folder of a width that was never published")
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Convert and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.export.conversion import convert
    from videoadapt.paths import is_folder

    (check_file if args.out.suffix else check_folder)("OUT", args.out)
    source = Path(args.source)
    check_not_read("OUT", args.out, [source, *(source.iterdir() if is_folder(source) else ())])
    for line in convert(args.source, args.out, args.to, args.num_heads):
        print(line)
    return 0
