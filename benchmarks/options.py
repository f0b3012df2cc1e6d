"""The command line of each benchmark."""

import argparse
from pathlib import Path
from typing import Any, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_bank(commands: Commands) -> argparse.ArgumentParser:
    """Tasks and the vit that they share."""
    parser = commands.add_parser("bank", help="K adapters in one pass against K runs one by one")
    parser.add_argument("--video", type=Path, required=True, help="a video file to predict")
    parser.add_argument("--tasks", type=int, default=8, metavar="K")
    parser.add_argument("--size", default="base", help="size of the vit, with random weights")
    parser.add_argument("--first-block", type=int, default=0, help="first block that has an adapter")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


def add_data(commands: Commands) -> argparse.ArgumentParser:
    """Lists, decoders and processes."""
    parser = commands.add_parser("data", help="clips and views from files: our loader against decoding alone")
    parser.add_argument(
        "lists", nargs="+", type=Path, metavar="LIST", help="lists of `path label` rows, a table row each"
    )
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the paths of the lists start from")
    parser.add_argument("--decoders", nargs="+", default=["decord", "pyav", "torchcodec"], metavar="NAME")
    parser.add_argument("--reencoded", action="store_true", help="also what `prepare_data.py reencode` makes of them")
    parser.add_argument("--clips", type=int, default=5, help="random clips of each video")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="also with this many processes")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for data.json and data.md")
    return parser


def add_segments(commands: Commands) -> argparse.ArgumentParser:
    """A model, clips to join, and where segments are cut."""
    parser = commands.add_parser("segments", help="segments of films that are joined from labelled clips")
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="or an adapter file")
    parser.add_argument("--clips", type=Path, required=True, metavar="FOLDER", help="a folder of clips for each class")
    parser.add_argument("--per-film", type=int, default=20, metavar="N", help="clips of a film")
    parser.add_argument("--every-sec", type=float, default=0.25)
    parser.add_argument("--on", type=float)
    parser.add_argument("--off", type=float)
    parser.add_argument("--smooth-sec", type=float)
    parser.add_argument("--least-sec", type=float)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the films")
    return parser


def add_explained(commands: Commands) -> argparse.ArgumentParser:
    """A model and videos."""
    parser = commands.add_parser("explained", help="what an answer loses by what explanations mark, and elsewhere")
    parser.add_argument("--run", required=True, metavar="FOLDER", help="or an adapter file")
    parser.add_argument("--videos", type=Path, required=True, metavar="FOLDER", help="all videos below it")
    return parser


def add_loader(commands: Commands) -> argparse.ArgumentParser:
    """Processes, and how long a reader and a step take."""
    parser = commands.add_parser("loader", help="the loader with readers that only wait, more than there are cores")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 16, 64], metavar="N")
    parser.add_argument("--clip-ms", type=float, default=60.0, metavar="MS", help="that a reader takes for a clip")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--step-ms", type=float, default=0.0, metavar="MS", help="that a step takes")
    parser.add_argument(
        "--python-ms", type=float, default=0.0, metavar="MS", help="of these, that it computes in Python"
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    return parser


def add_decoders(commands: Commands) -> argparse.ArgumentParser:
    """Files, and how many clips of each."""
    parser = commands.add_parser("decoders", help="frames that differ from reading in order")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--clips", type=int, default=15, help="clips of 8 frames at stride 4, each from a fresh reader")
    return parser


def add_threads(commands: Commands) -> argparse.ArgumentParser:
    """Busy processes and rounds."""
    parser = commands.add_parser("threads", help="a step on the CPU by how OpenMP's threads wait for one another")
    parser.add_argument(
        "--busy", type=int, default=2, metavar="N", help="processes that never rest, for the second half"
    )
    parser.add_argument("--rounds", type=int, default=9)
    return parser


def add_model(commands: Commands) -> argparse.ArgumentParser:
    """Training or inference, the model, and the peers."""
    parser = commands.add_parser("model", help="clips a second of the model alone, ours beside other code")
    parser.add_argument("--mode", choices=("train", "infer"), default="train")
    _add_setting(parser)
    parser.add_argument(
        "--peers", nargs="*", choices=("plain", "huggingface"), default=[], help="measured in the same run"
    )
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also append the table, in markdown")
    return parser


def add_end_to_end(commands: Commands) -> argparse.ArgumentParser:
    """Training or testing, the model, and where its videos are from."""
    parser = commands.add_parser("end_to_end", help="from files through the loader to the model, and each part alone")
    parser.add_argument("--mode", choices=("train", "test"), default="train", help="test: 4 x 3 views of each video")
    _add_setting(parser)
    parser.add_argument(
        "--videos", nargs="*", type=Path, default=[], metavar="FOLDER", help="of video files; without, some are made"
    )
    parser.add_argument("--reencoded", action="store_true", help="also what `prepare_data.py reencode` makes of them")
    parser.add_argument("--decoders", nargs="+", default=["pyav"], metavar="NAME")
    parser.add_argument(
        "--cache-jpeg",
        type=int,
        metavar="QUALITY",
        help="out of a data.cache in JPEG, which is filled first; in training "
        "decoded on the processor, and then on the device",
    )
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="of each GPU")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each part")
    parser.add_argument("--films", type=int, default=8, help="that are made")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for end_to_end_MODE.json and .md")
    return parser


def _add_setting(parser: argparse.ArgumentParser) -> None:
    """What says how the model computes."""
    parser.add_argument("--size", default="base", help="size of the vit, with random weights")
    parser.add_argument("--backbone", metavar="YAML", help="another than the vit, as model.backbone; random weights")
    parser.add_argument("--adapter", default="{name: adaptformer, bottleneck: 64}", metavar="YAML")
    parser.add_argument("--drop-path", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--crop", type=int, default=224, metavar="PX")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="bf16")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--activation-checkpointing", action="store_true", help="as train.activation_checkpointing")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def setting_of(args: argparse.Namespace, mode: Any) -> Any:
    """The Setting that a command line asks for."""
    import yaml

    from benchmarks.setting import Setting

    vit = {"name": "vit", "size": args.size, "drop_path": args.drop_path}
    backbone = yaml.safe_load(args.backbone) if args.backbone else vit
    return Setting(
        mode,
        backbone,
        yaml.safe_load(args.adapter),
        args.batch,
        args.frames,
        args.crop,
        args.precision,
        args.compile,
        args.activation_checkpointing,
    )
