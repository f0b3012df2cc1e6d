"""Publish a run's adapter: a folder with the adapter, a page made from the run and a picture, uploaded to the hub."""

import argparse
import tempfile
from pathlib import Path

from videoadapt.cli._command import command, program
from videoadapt.cli._options import add_run
from videoadapt.cli._output import check_folder
from videoadapt.cli._paths import place


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("push"),
        description=__doc__,
        epilog="The backbone is not in it, only its name. Uploading needs `hf auth login` or HF_TOKEN: docs/weights.md.",
    )
    add_run(parser, "folder of a finished run")
    parser.add_argument("name", metavar="hf:USER/NAME", help="where it is, or will be, published")
    parser.add_argument("--out", type=place, metavar="FOLDER", help="write the folder here, and upload nothing")
    parser.add_argument(
        "--license", default="", metavar="NAME", help="as the hub calls it: mit, apache-2.0, cc-by-nc-4.0"
    )
    parser.add_argument("--private", action="store_true", help="a new repository is for you alone")
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Make the folder, upload it, and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import CheckpointError
    from videoadapt.export.adapter_page import write_adapter_folder
    from videoadapt.weights.names import HubName
    from videoadapt.weights.published import upload

    name = HubName.read(args.name)
    if name.revision or name.file:
        raise CheckpointError(f"{args.name}: expected hf:USER/NAME")
    if args.out:
        check_folder("--out", args.out)
        files = write_adapter_folder(args.run, args.out, name, args.license)
        print(f"{args.out}: {', '.join(files)}; look at its README.md, then upload it")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        files = write_adapter_folder(args.run, Path(folder), name, args.license)
        pinned = upload(name, Path(folder), private=args.private)
    print(f"{pinned}: {', '.join(files)}")
    if not args.license:
        print("its page names no licence yet: fill it in there, or push again with --license")
    return 0
