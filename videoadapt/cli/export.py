"""Write a run's model for other programs, and check that what was written agrees with it."""

import argparse

from videoadapt.cli._command import command, program
from videoadapt.cli._output import check_file
from videoadapt.cli._paths import place


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("export"),
        description=__doc__,
        epilog=".onnx: ONNX; .pt2: torch.export (both take uint8 RGB clips (B, 3, T, H, W), normalise them and return logits); "
        ".safetensors or .pth: one merged state dict where the method can be merged exactly, for vit in VideoMAE's layout.",
    )
    parser.add_argument("out", type=place, help="file to write; its suffix says the format")
    parser.add_argument("--run", type=place, required=True, metavar="FOLDER", help="folder of a trained run")
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Export and return the exit code: 2 when it cannot be done or the logits differ."""
    args = parse_arguments(arguments)
    import warnings

    import torch

    from videoadapt.errors import ConfigError
    from videoadapt.export.programs import export_merged, export_onnx, export_torch
    from videoadapt.runs.build import open_run
    from videoadapt.runs.folder import thresholds_of
    from videoadapt.runs.rates import trained_rates

    warnings.filterwarnings("ignore", module="torch|copyreg")  # torch's exporters warn of their own inner workings
    if args.out.suffix not in (".onnx", ".pt2", ".safetensors", ".pth"):
        raise ConfigError(f"{args.out}: the suffix says the format; allowed: .onnx, .pt2, .safetensors, .pth")
    check_file("OUT", args.out)
    config, class_names, model = open_run(args.run, torch.device("cpu"))
    rates, thresholds = trained_rates(args.run), thresholds_of(args.run)
    if args.out.suffix == ".onnx":
        error = export_onnx(model, config, class_names, args.out, rates, thresholds)
    elif args.out.suffix == ".pt2":
        error = export_torch(model, config, class_names, args.out, rates, thresholds)
    else:
        error = export_merged(model, config, class_names, args.out, rates, thresholds)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes; read back, its logits differ by {error:.1g} of their size")
    return 0
