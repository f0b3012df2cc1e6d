"""Write a run's model for other programs: `python tools/export.py --run outputs/x model.onnx`, and check that it agrees."""

import argparse
import sys
from pathlib import Path


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=".onnx: ONNX; .pt2: torch.export (both take uint8 RGB clips (B, 3, T, H, W), normalise them and return logits); "
        ".safetensors or .pth: one merged state dict in VideoMAE's fine-tuned layout, where the method can be merged exactly.",
    )
    parser.add_argument("out", type=Path, help="file to write; its suffix says the format")
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="folder of a trained run")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Export and return the exit code: 2 when it cannot be done or the logits differ."""
    args = parse_arguments(arguments)
    import warnings

    import torch

    from videoadapt.errors import ConfigError, VideoAdaptError
    from videoadapt.export.programs import export_merged, export_onnx, export_torch
    from videoadapt.runs.build import open_run

    warnings.filterwarnings("ignore", module="torch|copyreg")  # torch's exporters warn of their own inner workings
    try:
        if args.out.suffix not in (".onnx", ".pt2", ".safetensors", ".pth"):
            raise ConfigError(f"{args.out}: the suffix says the format; allowed: .onnx, .pt2, .safetensors, .pth")
        config, class_names, model = open_run(args.run, torch.device("cpu"))
        if args.out.suffix == ".onnx":
            error = export_onnx(model, config, class_names, args.out)
        elif args.out.suffix == ".pt2":
            error = export_torch(model, config, class_names, args.out)
        else:
            error = export_merged(model, config, args.out)
    except VideoAdaptError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 2
    sys.stdout.write(
        f"{args.out}: {args.out.stat().st_size:,} bytes; read back, its logits differ by {error:.1g} of their size\n"
    )
    return 0
