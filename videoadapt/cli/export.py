"""Write a trained model for other programs, and check that what was written agrees with it."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videoadapt.cli._answers import say_unreadable
from videoadapt.cli._command import command, program
from videoadapt.cli._output import check_file, check_not_read
from videoadapt.cli._paths import place, place_text
from videoadapt.errors import counted

if TYPE_CHECKING:
    from videoadapt.config.schema import Config
    from videoadapt.data.structures import Video

SUFFIXES = (".onnx", ".pt2", ".safetensors", ".pth")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("export"),
        description=__doc__,
        epilog=".onnx: ONNX; .pt2: torch.export (both take uint8 RGB clips (B, 3, T, H, W), normalise them and return logits); "
        ".safetensors or .pth: one merged state dict where the method can be merged exactly, for vit in VideoMAE's layout.",
    )
    parser.add_argument("out", type=place, help="file to write; its suffix says the format")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=place, metavar="FOLDER", help="folder of a trained run")
    source.add_argument("--adapter", type=place, metavar="FILE", help="adapter.safetensors, or hf:USER/NAME")
    parser.add_argument("--weights", type=place_text, metavar="BACKBONE", help="with --adapter: its backbone's weights")
    parser.add_argument(
        "--quantize",
        choices=("int8", "fp16"),
        help="of .onnx: fewer bits; what they cost on the test list is shown, and written beside the file as .json",
    )
    parser.add_argument(
        "--list", type=place, metavar="FILE", help="with --quantize: another list than the run's data.test"
    )
    parser.add_argument(
        "--root", type=place, metavar="FOLDER", help="with --quantize: where the videos are now; default: data.root"
    )
    args = parser.parse_args(arguments)
    _check(parser, args)
    return args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.weights and not args.adapter:
        parser.error("--weights: goes with --adapter")
    if args.quantize and args.out.suffix != ".onnx":
        parser.error(f"--quantize: {args.out}: is for .onnx")
    if (args.list or args.root) and not args.quantize:
        parser.error("--list and --root: go with --quantize")
    if args.quantize and args.adapter and not args.list:
        parser.error("--quantize: an adapter file names no test list; give one with --list, and its --root")


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Export and return the exit code: 2 when it cannot be done or the logits differ."""
    args = parse_arguments(arguments)
    import warnings

    import torch

    from videoadapt.errors import ConfigError
    from videoadapt.export.programs import export_merged, export_onnx, export_torch
    from videoadapt.runs.adapter_file import open_adapter
    from videoadapt.runs.build import open_run
    from videoadapt.runs.folder import facts_of
    from videoadapt.runs.forward import HALF_PRECISION
    from videoadapt.runs.rates import rates_in

    warnings.filterwarnings("ignore", module="torch|copyreg")  # torch's exporters warn of their own inner workings
    if args.out.suffix not in SUFFIXES:
        raise ConfigError(f"{args.out}: the suffix says the format; allowed: {', '.join(SUFFIXES)}")
    check_file("OUT", args.out)
    _check_kept(args, [args.adapter, args.weights, args.list])
    if args.adapter:
        adapter, config, model = open_adapter(args.adapter, args.weights)
        class_names, rates, thresholds = adapter.class_names, adapter.rates, adapter.thresholds
    else:
        config, class_names, model = open_run(args.run, torch.device("cpu"))
        facts = facts_of(args.run)
        rates, thresholds = rates_in(facts), facts.get("thresholds")
    _check_kept(args, [config.model.weights])
    export = {".onnx": export_onnx, ".pt2": export_torch}.get(args.out.suffix, export_merged)
    videos = _test_videos(args, config, len(class_names)) if args.quantize else []  # named wrongly, before the export
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder, "float32.onnx") if args.quantize else args.out
        error = export(model, config, class_names, exact, rates, thresholds)
        if args.quantize:
            _quantise(args, exact, videos)
    if not args.quantize:
        print(
            f"{args.out}: {args.out.stat().st_size:,} bytes; read back, its logits differ by {error:.1g} of their size"
        )
    if config.train.precision in HALF_PRECISION:
        print(
            f"compared, and computed in the file, in float32; the run itself computes in {config.train.precision} "
            "(train.precision), so that its own probabilities differ by its rounding: docs/export.md"
        )
    return 0


def _check_kept(args: argparse.Namespace, sources: Sequence[str | Path | None]) -> None:
    beside = [args.out.with_suffix(".json")] if args.quantize else []  # what its bits cost
    for path in (args.out, *beside):
        check_not_read("OUT", path, filter(None, sources))


def _test_videos(args: argparse.Namespace, config: "Config", num_classes: int) -> "Sequence[Video]":
    from videoadapt.export.quantised import videos_of_test

    return videos_of_test(config, num_classes, args.list, args.root)


def _quantise(args: argparse.Namespace, exact: Path, videos: "Sequence[Video]") -> None:
    """Write the file in fewer bits, and say what they cost."""
    from videoadapt.export.quantised import cost, quantise
    from videoadapt.files import write_json

    quantise(exact, args.out, args.quantize)
    found = cost(exact, args.out, videos)
    beside = args.out.with_suffix(".json")
    write_json(beside, {"quantize": args.quantize, **found})
    print(f"{args.out} and {beside}: on {counted(found['num_videos'], 'test video')}")
    for name in ("float32", args.quantize):
        scores = {key: value for key, value in found[name].items() if key not in ("bytes", "ms_per_clip")}
        said = "  ".join(f"{key} {value:.2f} %" for key, value in scores.items() if value is not None)
        print(f"  {name:8}{said}  {found[name]['bytes'] / 1e6:.2f} MB  {found[name]['ms_per_clip']:.1f} ms a clip")
    print(
        f"  probabilities differ by {found['largest_difference']:.2g} at most, {found['mean_difference']:.2g} on average; "
        f"another best class for {counted(found['num_other_best'], 'video')}"
    )
    say_unreadable(found["num_unreadable"], found["num_videos"])
