"""Measure what docs/ and README claim, and print it as JSON.

`python tools/benchmark.py bank --video clip.mp4`: K adapters in one pass against K runs, median of several.
`python tools/benchmark.py data LIST ... --root VIDEOS`: the loader against decoding alone, and test views, per decoder.
`python tools/benchmark.py loader --workers 2 16 64`: the loader with readers that only wait.
`python tools/benchmark.py end_to_end --workers 15 --out FOLDER`: training, or testing, from files, beside its parts alone.
`python tools/benchmark.py end_to_end --cache-jpeg 95 --out FOLDER`: the same out of frames in JPEG, decoded in two ways.
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
from typing import Any

from benchmarks import options


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; `measure` of the result is the benchmark's function."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for add, measure in (
        (options.add_bank, bench_bank),
        (options.add_data, bench_data),
        (options.add_segments, bench_segments),
        (options.add_explained, bench_explained),
        (options.add_loader, bench_loader),
        (options.add_decoders, bench_decoders),
        (options.add_threads, bench_threads),
        (options.add_model, bench_model),
        (options.add_end_to_end, bench_end_to_end),
    ):
        add(commands).set_defaults(measure=measure)
    return parser.parse_args(arguments)


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

    result = measure(options.setting_of(args, args.mode), args.peers, args.steps, choose_device(args.device))
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

    from benchmarks.end_to_end import Cached, Job, markdown, measure
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
    setting = options.setting_of(args, "train" if args.mode == "train" else "infer")
    cached = None if args.cache_jpeg is None else Cached(args.out / "frames", args.cache_jpeg)
    result: dict[str, Any] = {
        "mode": args.mode,
        "gpus": distributed.world_size(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "machine": machine(),
        "groups": {
            name: {
                way: figures
                for decoder in args.decoders
                for way, figures in measure(
                    videos, Job(setting, decoder, args.workers, args.seconds, cached), device
                ).items()
            }
            for name, videos in groups.items()
        },
    }
    if not distributed.is_main():
        return result
    (args.out / f"end_to_end_{args.mode}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (args.out / f"end_to_end_{args.mode}.md").write_text(markdown(result), encoding="utf-8")
    sys.stderr.write(markdown(result))
    return result
