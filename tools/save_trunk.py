"""Write the backbone of a fully tuned run as a weight file: `python tools/save_trunk.py outputs/tiny_trunk out.safetensors`."""

import argparse
import json
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Write the file and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run with `model.adapter.name full`")
    parser.add_argument("out", type=Path, help="safetensors file to write, in float16")
    args = parser.parse_args(arguments)
    import torch

    from videoadapt import __version__
    from videoadapt.errors import VideoAdaptError
    from videoadapt.run import open_run
    from videoadapt.weights import save_trunk

    try:
        config, _, model = open_run(args.run, torch.device("cpu"))
        about = {"videoadapt": __version__, "config": json.dumps(config.model_dump(mode="json"))}
        save_trunk(model.backbone, args.out, about, half=True)
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{args.out}: {args.out.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
