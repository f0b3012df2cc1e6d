"""Options that several commands take, each worded here once."""

import argparse
from typing import TypeAlias

from videoadapt.cli._paths import place

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_run(parser: argparse.ArgumentParser, meaning: str = "run folder") -> None:
    """Let a command be about one run, its first word."""
    parser.add_argument("run", type=place, metavar="RUN", help=meaning)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Let the user say where it computes; `choose_device` then finds it."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def check_model(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where --run, --adapter, --weights and --onnx do not say one model that can be."""
    can_compile = "compile" in args
    if sum(map(bool, (args.adapter, args.run, args.onnx))) > 1:
        parser.error("--adapter, --run and --onnx: give one of them")
    if args.onnx and (args.device == "cuda" or (can_compile and args.compile)):
        parser.error(f"--onnx: goes with no --device cuda{' and no --compile' * can_compile}")
    if args.weights and not args.adapter:
        parser.error("--weights: goes with --adapter")
