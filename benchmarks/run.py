"""Measure what docs/ and README claim, and print it as JSON.

`python tools/benchmark.py bank --video clip.mp4`: K adapters in one pass against K runs, median of several.
`python tools/benchmark.py data LIST ... --root VIDEOS`: the loader against decoding alone, and test views, per decoder.
`python tools/benchmark.py loader --workers 2 16 64`: the loader with readers that only wait.
`python tools/benchmark.py end_to_end --workers 15 --out FOLDER`: training, or testing, from files, beside its parts alone.
`python tools/benchmark.py model --peers plain`: training and inference on clips that are on the device already.
`torchrun --nproc-per-node 2 tools/benchmark.py model`, or `end_to_end`: each GPU with a batch, and readers, of its own.
`python tools/benchmark.py threads`: a step of the quickstart's model on the CPU, alone and beside busy processes.
`python tools/benchmark.py segments --run FOLDER --clips CLASSES --out FILMS`: segments of films joined from labelled clips.
`python tools/benchmark.py explained --run FOLDER --videos FOLDER`: whether the answer hangs on what explanations mark.
`python tools/benchmark.py decoders FILE ...`: the share of frames that are wrong with each library, and with ours.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    bank = commands.add_parser("bank", help="K adapters in one pass against K runs one by one")
    bank.set_defaults(measure=bench_bank)
    bank.add_argument("--video", type=Path, required=True, help="a video file to predict")
    bank.add_argument("--tasks", type=int, default=8, metavar="K")
    bank.add_argument("--size", default="base", help="size of the vit, with random weights")
    bank.add_argument("--first-block", type=int, default=0, help="first block that has an adapter")
    bank.add_argument("--repeats", type=int, default=5)
    bank.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    data = commands.add_parser("data", help="clips and views from files: our loader against decoding alone")
    data.set_defaults(measure=bench_data)
    data.add_argument(
        "lists", nargs="+", type=Path, metavar="LIST", help="lists of `path label` rows, a table row each"
    )
    data.add_argument("--root", type=Path, default=Path(), help="folder that the paths of the lists start from")
    data.add_argument("--decoders", nargs="+", default=["decord", "pyav", "torchcodec"], metavar="NAME")
    data.add_argument("--reencoded", action="store_true", help="also what `prepare_data.py reencode` makes of them")
    data.add_argument("--clips", type=int, default=5, help="random clips of each video")
    data.add_argument("--repeats", type=int, default=5)
    data.add_argument("--workers", type=int, default=0, metavar="N", help="also with this many processes")
    data.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for data.json and data.md")
    segments = commands.add_parser("segments", help="segments of films that are joined from labelled clips")
    segments.set_defaults(measure=bench_segments)
    segments.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="or an adapter file")
    segments.add_argument(
        "--clips", type=Path, required=True, metavar="FOLDER", help="a folder of clips for each class"
    )
    segments.add_argument("--per-film", type=int, default=20, metavar="N", help="clips of a film")
    segments.add_argument("--every-sec", type=float, default=0.25)
    segments.add_argument("--on", type=float)
    segments.add_argument("--off", type=float)
    segments.add_argument("--smooth-sec", type=float)
    segments.add_argument("--least-sec", type=float)
    segments.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the films")
    explained = commands.add_parser("explained", help="what an answer loses by what explanations mark, and elsewhere")
    explained.set_defaults(measure=bench_explained)
    explained.add_argument("--run", required=True, metavar="FOLDER", help="or an adapter file")
    explained.add_argument("--videos", type=Path, required=True, metavar="FOLDER", help="all videos below it")
    loader = commands.add_parser("loader", help="the loader with readers that only wait, more than there are cores")
    loader.set_defaults(measure=bench_loader)
    loader.add_argument("--workers", type=int, nargs="+", default=[2, 16, 64], metavar="N")
    loader.add_argument("--clip-ms", type=float, default=60.0, metavar="MS", help="that a reader takes for a clip")
    loader.add_argument("--batch", type=int, default=128)
    loader.add_argument("--step-ms", type=float, default=0.0, metavar="MS", help="that a step takes")
    loader.add_argument(
        "--python-ms", type=float, default=0.0, metavar="MS", help="of these, that it computes in Python"
    )
    loader.add_argument("--seconds", type=float, default=5.0)
    loader.add_argument("--repeats", type=int, default=3)
    decoders = commands.add_parser("decoders", help="frames that differ from reading in order")
    decoders.set_defaults(measure=bench_decoders)
    decoders.add_argument("files", nargs="+", type=Path, metavar="FILE")
    decoders.add_argument(
        "--clips", type=int, default=15, help="clips of 8 frames at stride 4, each from a fresh reader"
    )
    threads = commands.add_parser("threads", help="a step on the CPU by how OpenMP's threads wait for one another")
    threads.set_defaults(measure=bench_threads)
    threads.add_argument(
        "--busy", type=int, default=2, metavar="N", help="processes that never rest, for the second half"
    )
    threads.add_argument("--rounds", type=int, default=9)
    model = commands.add_parser("model", help="clips a second of the model alone, ours beside other code")
    model.set_defaults(measure=bench_model)
    model.add_argument("--mode", choices=("train", "infer"), default="train")
    add_setting(model)
    model.add_argument(
        "--peers", nargs="*", choices=("plain", "huggingface"), default=[], help="measured in the same run"
    )
    model.add_argument("--steps", type=int, default=15)
    model.add_argument("--out", type=Path, metavar="FILE", help="also append the table, in markdown")
    whole = commands.add_parser("end_to_end", help="from files through the loader to the model, and each part alone")
    whole.set_defaults(measure=bench_end_to_end)
    whole.add_argument("--mode", choices=("train", "test"), default="train", help="test: 4 x 3 views of each video")
    add_setting(whole)
    whole.add_argument(
        "--videos", nargs="*", type=Path, default=[], metavar="FOLDER", help="of video files; without, some are made"
    )
    whole.add_argument("--reencoded", action="store_true", help="also what `prepare_data.py reencode` makes of them")
    whole.add_argument("--decoders", nargs="+", default=["pyav"], metavar="NAME")
    whole.add_argument("--workers", type=int, default=4, metavar="N", help="of each GPU")
    whole.add_argument("--seconds", type=float, default=15.0, help="for each part")
    whole.add_argument("--films", type=int, default=8, help="that are made")
    whole.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for end_to_end_MODE.json and .md")
    return parser.parse_args(arguments)


def add_setting(command: argparse.ArgumentParser) -> None:
    """What says how the model computes."""
    command.add_argument("--size", default="base", help="size of the vit, with random weights")
    command.add_argument("--backbone", metavar="YAML", help="another than the vit, as model.backbone; random weights")
    command.add_argument("--adapter", default="{name: adaptformer, bottleneck: 64}", metavar="YAML")
    command.add_argument("--drop-path", type=float, default=0.0)
    command.add_argument("--batch", type=int, default=128)
    command.add_argument("--frames", type=int, default=8)
    command.add_argument("--crop", type=int, default=224, metavar="PX")
    command.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="bf16")
    command.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    command.add_argument("--activation-checkpointing", action="store_true", help="as train.activation_checkpointing")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print one JSON object and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt import distributed
    from videoadapt.errors import VideoAdaptError

    try:
        with distributed.process_group():
            result = args.measure(args)
            if distributed.is_main():
                sys.stdout.write(json.dumps(result) + "\n")
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def bench_bank(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds for a video and K tasks: one bank, and K predictors in turn."""
    from benchmarks.bank_speed import measure
    from videoadapt.distributed import choose_device

    device = choose_device(args.device)
    return measure(args.video, args.tasks, args.size, args.first_block, args.repeats, device)


def bench_data(args: argparse.Namespace) -> dict[str, object]:
    """Means per list and decoder, and the figures of every file; the same as a table in data.md."""
    import torch

    from benchmarks.reading_speed import machine, markdown, measure, measure_workers
    from videoadapt.data.datasets.video_list import VideoList
    from videoadapt.preparing.encoding import Settings
    from videoadapt.preparing.reencode import reencode

    torch.set_num_threads(1)
    groups = {path.stem: VideoList().load(str(path), args.root) for path in args.lists}
    if args.reencoded:
        for path in args.lists:
            out = args.out / "reencoded" / path.stem
            reencode(str(path), args.root, out, Settings(), os.cpu_count() or 1, 600)
            groups[f"{path.stem}, re-encoded"] = VideoList().load(str(out / path.name), out)
    result: dict[str, object] = {"machine": machine(), "groups": {}}
    result["groups"] = {
        name: {d: measure(videos, d, args.clips, args.repeats) for d in args.decoders}
        for name, videos in groups.items()
    }
    if args.workers:
        result |= {"num_workers": args.workers}
        result["workers"] = {
            name: {d: measure_workers(videos, d, args.clips, args.repeats, args.workers) for d in args.decoders}
            for name, videos in groups.items()
        }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "data.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (args.out / "data.md").write_text(markdown(result), encoding="utf-8")
    return result


def bench_loader(args: argparse.Namespace) -> dict[str, Any]:
    """For each number of processes: clips a second of the loader beside its readers alone, and its thread's time for a clip."""
    from benchmarks.loader_speed import markdown, measure

    rows = [
        measure(n, args.clip_ms, args.batch, args.step_ms, args.python_ms, args.seconds, args.repeats)
        for n in args.workers
    ]
    sys.stderr.write(markdown(rows))
    return {"rows": rows}


def bench_decoders(args: argparse.Namespace) -> dict[str, Any]:
    """Per file, library and way of reading: the share of frames with a pixel that is more than 2 grey levels off."""
    from benchmarks.wrong_frames import measure

    return {path.name: measure(path, args.clips) for path in args.files}


def bench_threads(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step for each way of waiting, alone and beside busy processes."""
    from benchmarks.waiting_threads import markdown, measure

    result = measure(args.busy, args.rounds)
    sys.stderr.write(markdown(result))
    return result


def bench_segments(args: argparse.Namespace) -> dict[str, Any]:
    """Frame accuracy, edit score and F1 of the segments of joined clips."""
    from benchmarks.segment_scores import measure
    from videoadapt import load
    from videoadapt.inference.segments import Cut

    cut = Cut(args.on, args.off, args.smooth_sec, args.least_sec)
    return measure(load(args.run), args.clips, args.out, args.per_film, args.every_sec, cut)


def bench_explained(args: argparse.Namespace) -> dict[str, Any]:
    """Points of probability lost for each method, by places and by frames."""
    from benchmarks.explained import markdown, measure
    from videoadapt import load
    from videoadapt.inference.sources import videos_named

    found = measure(load(args.run), videos_named([args.videos], folders=False))
    sys.stderr.write(markdown(found))
    return found


def bench_model(args: argparse.Namespace) -> dict[str, Any]:
    """Clips a second, milliseconds of a step, share of the matrix peak and memory, ours and the peers'."""
    from benchmarks.model_speed import markdown, measure
    from videoadapt import distributed
    from videoadapt.distributed import choose_device

    result = measure(setting_of(args, args.mode), args.peers, args.steps, choose_device(args.device))
    table = markdown(result)
    if distributed.is_main():
        sys.stderr.write(table)
    if args.out and distributed.is_main():
        with args.out.open("a", encoding="utf-8") as file:
            file.write(table + "\n")
    return result


def bench_end_to_end(args: argparse.Namespace) -> dict[str, Any]:
    """Figures per folder and decoder; the same as a table in markdown."""
    import torch

    from benchmarks.end_to_end import Job, markdown, measure
    from benchmarks.long_films import films_in, make_films, reencoded
    from benchmarks.reading_speed import machine
    from videoadapt import distributed
    from videoadapt.distributed import choose_device

    device, cores = choose_device(args.device), os.cpu_count() or 1
    args.out.mkdir(parents=True, exist_ok=True)
    groups: dict[str, Any] = {}

    def find() -> None:
        groups.update({folder.name: films_in(folder) for folder in args.videos})
        if not groups:
            groups["made"] = make_films(args.out / "made", args.films, cores)
        if args.reencoded:
            for name, videos in list(groups.items()):
                groups[f"{name}, re-encoded"] = reencoded(videos, args.out / "reencoded" / name, cores)

    distributed.on_main(find)
    groups = distributed.all_gather_objects(groups)[0]
    setting = setting_of(args, "train" if args.mode == "train" else "infer")
    result: dict[str, Any] = {
        "mode": args.mode,
        "gpus": distributed.world_size(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "machine": machine(),
        "groups": {
            name: {d: measure(videos, Job(setting, d, args.workers, args.seconds), device) for d in args.decoders}
            for name, videos in groups.items()
        },
    }
    if not distributed.is_main():
        return result
    (args.out / f"end_to_end_{args.mode}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (args.out / f"end_to_end_{args.mode}.md").write_text(markdown(result), encoding="utf-8")
    sys.stderr.write(markdown(result))
    return result


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
