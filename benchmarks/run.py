"""Measure what docs/ and README claim, and print it as JSON.

`python tools/benchmark.py bank --video clip.mp4`: K adapters in one pass against K runs, median of several.
`python tools/benchmark.py data LIST ... --root VIDEOS`: the loader against decoding alone, and test views, per decoder.
`python tools/benchmark.py model --peers plain`: training and inference on clips that are on the device already.
`python tools/benchmark.py threads`: a step of the quickstart's model on the CPU, alone and beside busy processes.
`python tools/benchmark.py decoders FILE ...`: the share of frames that are wrong with each library, and with ours.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
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
    model.add_argument("--size", default="base", help="size of the vit, with random weights")
    model.add_argument("--adapter", default="{name: adaptformer, bottleneck: 64}", metavar="YAML")
    model.add_argument("--drop-path", type=float, default=0.0)
    model.add_argument("--batch", type=int, default=128)
    model.add_argument("--frames", type=int, default=8)
    model.add_argument("--crop", type=int, default=224, metavar="PX")
    model.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="bf16")
    model.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    model.add_argument(
        "--peers", nargs="*", choices=("plain", "huggingface"), default=[], help="measured in the same run"
    )
    model.add_argument("--steps", type=int, default=15)
    model.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    model.add_argument("--out", type=Path, metavar="FILE", help="also append the table, in markdown")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print one JSON object and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import VideoAdaptError

    try:
        result = args.measure(args)
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def bench_bank(args: argparse.Namespace) -> dict[str, object]:
    """Seconds for a video and K tasks: one bank, and K predictors in turn, measured alternately."""
    import torch

    from benchmarks.reading_speed import alternate
    from videoadapt.config.schema import Config, ModelConfig, TestConfig
    from videoadapt.distributed import choose_device
    from videoadapt.inference.adapter_bank import AdapterBank
    from videoadapt.inference.predictor import Predictor, predict_tasks
    from videoadapt.models.backbones.vit import SIZES
    from videoadapt.runs.adapter_file import save_adapter
    from videoadapt.runs.build import build_seeded_model

    device = choose_device(args.device)
    blocks = list(range(args.first_block, SIZES[args.size].depth))
    adapter = {"name": "adaptformer", "bottleneck": 64, "blocks": blocks}
    model = ModelConfig(backbone={"name": "vit", "size": args.size}, adapter=adapter)
    config = Config(output=Path(), model=model, test=TestConfig(clips=1, crops=1))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.safetensors" for number in range(args.tasks)]
        for number, path in enumerate(paths):
            adapted = build_seeded_model(config, num_classes=51)
            torch.manual_seed(number + 1)
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.data.normal_(std=0.02)
            save_adapter(adapted, config, [str(label) for label in range(51)], path)
        bank = AdapterBank.from_files(paths).to(device)
        predictors = [Predictor.from_adapter(path, None, device) for path in paths]

    def together() -> None:
        predict_tasks(bank, device, args.video)

    def one_by_one() -> None:
        for predictor in predictors:
            predictor.predict(args.video)

    bank_sec, single_sec = alternate([together, one_by_one], args.repeats)
    return {
        "tasks": args.tasks,
        "first_block": args.first_block,
        "size": args.size,
        "device": str(device),
        "bank_sec": bank_sec,
        "one_by_one_sec": single_sec,
        "ratio": single_sec / bank_sec,
    }


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


def bench_decoders(args: argparse.Namespace) -> dict[str, object]:
    """Per file, library and way of reading: the share of frames with a pixel that is more than 2 grey levels off.

    The truth is PyAV from the first frame on, turned upright. "before" uses the library at the frame indices, "after"
    our decoder of that name. A clip at which the library raises has no frames; the share of those is "raises".
    """
    import numpy as np

    result: dict[str, object] = {}
    for path in args.files:
        truth_NHWC = read_in_order(path)
        starts = np.random.default_rng(0).integers(0, max(1, len(truth_NHWC) - 28), args.clips)
        clips = [np.minimum(start + 4 * np.arange(8), len(truth_NHWC) - 1) for start in starts]
        result[path.name] = {
            name: {
                "before": wrong(naive, path, clips, truth_NHWC),
                "after": wrong(partial(ours, name), path, clips, truth_NHWC),
            }
            for name, naive in NAIVE.items()
        }
    return result


def ours(name: str, path: Path, indices: list[int]) -> Any:
    """What training does for a clip."""
    from videoadapt.video.decoders import open_video

    with open_video(path, {"name": name}) as decoder:
        return decoder.get(indices)


def wrong(read: Callable[[Path, list[int]], Any], path: Path, clips: list[Any], truth_NHWC: Any) -> dict[str, float]:
    """Shares of wrong frames and of clips that raise, over all `clips` (lists of frame indices)."""
    import numpy as np

    from videoadapt.errors import ConfigError

    num_wrong = num_frames = num_raises = 0
    for indices in clips:
        try:
            frames_NHWC = read(path, indices.tolist())
        except ImportError as error:
            raise ConfigError(f"{error.name}: is not installed, so it cannot be measured") from error
        except Exception:  # noqa: BLE001 - each library has errors of its own, and all of them count
            num_raises += 1
            continue
        num_frames += len(indices)
        for frame_HWC, truth_HWC in zip(frames_NHWC, truth_NHWC[indices], strict=True):
            same_shape = frame_HWC.shape == truth_HWC.shape
            num_wrong += not same_shape or int(np.abs(frame_HWC.astype(np.int16) - truth_HWC).max()) > 2
    return {"wrong": num_wrong / max(1, num_frames), "raises": num_raises / len(clips)}


def read_in_order(path: Path) -> Any:
    """All frames of FFmpeg's best video stream as it plays, upright: uint8 (N, H, W, 3)."""
    import numpy as np

    from videoadapt.video.decoders._opening import open_stream
    from videoadapt.video.decoders._orientation import orientation_of
    from videoadapt.video.decoders._pictures import Pictures

    pictures = Pictures()
    with open_stream(path, 1) as (container, stream):
        frames = [
            orientation_of(path, frame).upright(pictures.rgb(frame), axes=(0, 1)) for frame in container.decode(stream)
        ]
    return np.stack(frames)


def naive_decord(path: Path, indices: list[int]) -> Any:
    """The usual call of decord."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(str(path.absolute()), num_threads=1).get_batch(indices).asnumpy()


def naive_torchcodec(path: Path, indices: list[int]) -> Any:
    """The usual call of torchcodec."""
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path.absolute(), dimension_order="NHWC").get_frames_at(indices).data.numpy()


def naive_pyav(path: Path, indices: list[int]) -> Any:
    """The usual loop around PyAV: seek to index / rate, then decode until the time stamp is reached."""
    import av
    import numpy as np

    with av.open(str(path.absolute())) as container:
        stream: Any = container.streams.video[0]
        frames = []
        for index in indices:
            stamp = (stream.start_time or 0) + round(index / (stream.average_rate * stream.time_base))
            container.seek(stamp, stream=stream)
            frame: Any = next(frame for frame in container.decode(stream) if frame.pts >= stamp)
            frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


NAIVE: dict[str, Callable[[Path, list[int]], Any]] = {
    "decord": naive_decord,
    "pyav": naive_pyav,
    "torchcodec": naive_torchcodec,
}


def bench_threads(args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step for each way of waiting, alone and beside busy processes."""
    from benchmarks.waiting_threads import markdown, measure

    result = measure(args.busy, args.rounds)
    sys.stderr.write(markdown(result))
    return result


def bench_model(args: argparse.Namespace) -> dict[str, Any]:
    """Clips a second, milliseconds of a step, share of the matrix peak and memory, ours and the peers'."""
    import yaml

    from benchmarks.model_speed import Setting, markdown, measure
    from videoadapt.distributed import choose_device

    backbone = {"name": "vit", "size": args.size, "drop_path": args.drop_path}
    setting = Setting(
        args.mode,
        backbone,
        yaml.safe_load(args.adapter),
        args.batch,
        args.frames,
        args.crop,
        args.precision,
        args.compile,
    )
    result = measure(setting, args.peers, args.steps, choose_device(args.device))
    table = markdown(result)
    sys.stderr.write(table)
    if args.out:
        with args.out.open("a", encoding="utf-8") as file:
            file.write(table + "\n")
    return result
