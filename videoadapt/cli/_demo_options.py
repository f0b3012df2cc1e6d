"""The options of `demo`, and which of them go together."""

import argparse
import re
from pathlib import Path

from videoadapt.cli._options import add_device, check_model
from videoadapt.cli._paths import place, place_text


def add_videos(parser: argparse.ArgumentParser) -> None:
    """What is looked at."""
    parser.add_argument(
        "video",
        nargs="*",
        type=place,
        help="video files, or parts of them: film.mp4#t=1.5,4; folders, for all videos below; patterns: 'clips/*.mp4'",
    )
    parser.add_argument(
        "--list", type=place, metavar="FILE", help="a list of more videos: a path on each line, or a list for training"
    )
    parser.add_argument(
        "--live",
        metavar="SOURCE",
        help="a camera by its index (0), or a stream by its URL (rtsp, http, udp and others)",
    )
    parser.add_argument(
        "--window-sec",
        type=float,
        metavar="SECONDS",
        help="with --live, --serve, --out and --gif: the length of a look",
    )
    parser.add_argument(
        "--root",
        type=place,
        metavar="FOLDER",
        help="with --list: folder that its paths start from; default: the current one",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Who answers."""
    parser.add_argument(
        "--run",
        type=place,
        metavar="FOLDER",
        help="run folder; default: the newest one below outputs/, else the quickstart's model that comes with videoadapt",
    )
    parser.add_argument(
        "--adapter",
        type=place,
        action="append",
        metavar="FILE",
        help="adapter.safetensors, or hf:USER/NAME, to use instead of a run folder; several of one backbone answer in one pass",
    )
    parser.add_argument(
        "--weights",
        type=place_text,
        metavar="BACKBONE",
        help="with --adapter: the weights that it was trained with, a file or a name (hf:...)",
    )
    parser.add_argument(
        "--onnx",
        type=place,
        metavar="FILE",
        help="a file of videoadapt export instead, which onnxruntime computes on the CPU",
    )


def add_question(parser: argparse.ArgumentParser) -> None:
    """What is asked, and how it is computed."""
    parser.add_argument("--top", type=int, default=5, help="how many classes to show")
    parser.add_argument(
        "--reject",
        type=float,
        metavar="RATE",
        help="say `unknown` of videos that score lower than all but this share (0.05) of the known ones, which `videoadapt "
        "unknown RUN` has measured",
    )
    add_device(parser)
    parser.add_argument("--fps-hz", type=float, metavar="RATE", help="see videos at this rate (data.sampling.fps_hz)")
    parser.add_argument("--compile", action="store_true", help="faster passes after a minute's wait, for many videos")


def add_answers(parser: argparse.ArgumentParser) -> None:
    """In which form answers are shown."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object a video, with `damaged_frames` (null: the decoder cannot tell), or `error`",
    )
    parser.add_argument(
        "--csv", type=place, metavar="FILE", help="write a row a video with its --top classes, instead of printing them"
    )


def add_films(parser: argparse.ArgumentParser) -> None:
    """What is drawn on the film itself."""
    parser.add_argument(
        "--out",
        type=place,
        metavar="FILM",
        help="write the film, .mp4, .mov or .mkv, with its classes of each moment drawn on it",
    )
    parser.add_argument("--gif", type=place, metavar="FILE", help="the same as a small animation without sound")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="mark where and when the model looked: on the film of --out or --gif, by default <name>_explained.mp4 here, "
        "and on a contact sheet beside it, .png",
    )
    parser.add_argument("--label", metavar="CLASS", help="with --explain: for this class, not the most probable one")
    parser.add_argument(
        "--method", choices=("grad_cam", "relevance", "rollout"), help="with --explain: by which equation"
    )


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where options do not go together; --explain alone gets the film that it draws on."""
    live, serve = args.live is not None, args.serve is not None
    several, on_film = len(args.adapter or []) > 1, args.out or args.gif or args.explain
    if urls := [str(name) for name in args.video if re.match(r"\w{2,}:/", str(name))]:
        parser.error(f"{urls[0]}: a stream is given with --live, and no other video beside it")
    if live and (args.video or args.list or args.csv or on_film or several):
        parser.error("--live: goes with no video, --list, --csv, --out, --gif, --explain or second --adapter")
    if serve and (args.video or args.list or live or args.csv or on_film or args.json):
        parser.error("--serve: goes with no video, --list, --live, --csv, --out, --gif, --explain or --json")
    if not (live or serve or args.video or args.list):
        parser.error(
            "name a video, a folder or a pattern, or a list of them with --list, or a stream with --live; or --serve"
        )
    if args.root is not None and not args.list:
        parser.error("--root: goes with --list")
    if args.window_sec is not None and not (live or serve or on_film):
        parser.error("--window-sec: goes with --live, --serve, --out, --gif or --explain")
    check_model(parser, args)
    if on_film and (len(args.video) != 1 or args.list or several):
        parser.error("--out, --gif and --explain: are of one film, and of one run or adapter")
    if args.reject is not None and (args.adapter or live or serve or on_film):
        parser.error("--reject: goes with a run, and with no --adapter, --live, --serve, --out, --gif or --explain")
    if args.gif and args.gif.suffix.lower() != ".gif":
        parser.error(f"--gif {args.gif}: the name needs to end in .gif; --out writes films")
    if args.explain and args.onnx:
        parser.error("--explain: goes with no --onnx, which gives no gradients")
    if not args.explain and (args.label is not None or args.method):
        parser.error("--label and --method: go with --explain")
    if args.explain and not args.out and not args.gif:
        from videoadapt.video.part import stem_of

        args.out = Path(f"{stem_of(args.video[0])}_explained.mp4")
    if args.window_sec is not None and not 0 < args.window_sec < float("inf"):
        parser.error(f"--window-sec {args.window_sec:g}: allowed: above 0")
    if args.top < 1:
        parser.error(f"--top {args.top}: allowed: 1 or more")
