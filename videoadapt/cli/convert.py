"""Bring a weight file or folder of any known format into ours, VideoMAE's or Hugging Face's; say what it holds."""

import argparse
import sys
from pathlib import Path


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Formats and where to get files: docs/weights.md.")
    parser.add_argument("source", type=Path, metavar="IN", help="weight file, or Hugging Face folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="ends in .safetensors or .pth; a folder for huggingface")
    parser.add_argument("--to", default="videoadapt", choices=("videoadapt", "videomae", "huggingface"))
    parser.add_argument("--num-heads", type=int, help="for a Hugging Face folder of a width that was never published")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Convert and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import VideoAdaptError
    from videoadapt.export.conversion import convert

    try:
        lines = convert(args.source, args.out, args.to, args.num_heads)
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0
