"""Of `prepare`, what looks at the videos of lists that are there: scan, check and reencode."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoadapt.cli._command import EXIT_UNREADABLE
from videoadapt.cli._options import Commands
from videoadapt.cli._output import check_folder, check_not_read
from videoadapt.cli._paths import place, place_text
from videoadapt.errors import counted

if TYPE_CHECKING:
    from videoadapt.preparing.scan import Row

MOST_NAMED = 10  # files of each fault on the terminal; the report has all


def add_scan(commands: Commands) -> None:
    """Let `prepare scan` be called."""
    scan = commands.add_parser("scan", help="decode every file of a list and write a report and a cleaned list")
    scan.add_argument(
        "--classes", type=place_text, help="file with one class name a line, or their number: checks the labels"
    )
    scan.add_argument("--min-frames", type=int, default=1, metavar="N", help="shorter files are left out (default 1)")
    scan.add_argument(
        "--decoder",
        default="decord",
        help="the decoder that training will use, a name or {name: ..., ...} (default decord)",
    )
    scan.add_argument("--dataset", default="video_list", help="what reads the list, a name or {name: ..., ...}")
    scan.add_argument("--columns", metavar="A,B", help="of a list without a header row: path,num_frames,label")
    scan.add_argument("--out", type=place, metavar="FOLDER", help="default: outputs/scan_<name of the list>")
    scan.set_defaults(run=run_scan)
    _add_list(scan)
    _add_reading(scan)


def run_scan(args: argparse.Namespace) -> int:
    """Scan a list."""
    from videoadapt.preparing.scan import scan, write_report

    decoder = _component("--decoder", args.decoder)
    dataset, num_classes = _dataset(args), _num_classes(args.classes)
    name = re.sub(r"[*?{}\[\]]+", "_", Path(args.list).stem)  # a pattern names tars
    folder = args.out or Path("outputs") / f"scan_{name}"
    check_folder("--out", folder)
    for name in ("report.csv", "clean.csv"):
        check_not_read("--out", folder / name, [args.list])
    settings = {"list": args.list, "root": str(args.root), "num_classes": num_classes, "min_frames": args.min_frames}
    settings |= {"decoder": decoder if len(decoder) > 1 else decoder["name"], "labels": args.labels}
    rows = scan(
        args.list,
        args.root,
        num_classes=num_classes,
        decoder=decoder,
        min_frames=args.min_frames,
        jobs=args.jobs,
        limit_sec=args.limit_sec,
        dataset=dataset,
    )
    clean = write_report(rows, folder, settings)
    show_findings(rows)
    if num_classes is None:
        print("labels are not checked: no --classes")
    kept = sum(not row.faults for row in rows)
    of = f"of {counted(len(rows), 'row')}"
    print(f"{counted(kept, f'{of} is', f'{of} are')} kept: {clean or 'no list'}; all findings: {folder / 'report.csv'}")
    return 0 if kept == len(rows) else EXIT_UNREADABLE


def _dataset(args: argparse.Namespace) -> Any:
    """What reads the list, as --dataset, --columns and --labels say. Raises ConfigError where they do not fit."""
    from videoadapt.data.columns import problem_of
    from videoadapt.errors import ConfigError
    from videoadapt.registry import DATASETS

    dataset = DATASETS.build(_component("--dataset", args.dataset))
    if args.columns and (problem := problem_of(args.columns.split(","))):
        raise ConfigError(f"--columns {args.columns}: {problem}")
    if args.columns:
        dataset.columns = args.columns.split(",")
    if args.labels == "multi":
        if not hasattr(dataset, "labels"):
            raise ConfigError(f"--labels multi: --dataset {args.dataset} has one label a row; allowed: video_list")
        dataset.labels = args.labels
    return dataset


def _num_classes(text: str | None) -> int | None:
    """Of --classes: a number, or the names in a file."""
    from videoadapt.config.shipped import find_list
    from videoadapt.data.list_files import read_classes

    if text is None:
        return None
    is_number = text.isdecimal() and len(text) <= 18
    return int(text) if is_number else len(read_classes(find_list(text)))


def show_findings(rows: "Sequence[Row]") -> None:
    """Print how many rows have each fault and note, and up to MOST_NAMED of those with a fault, with its reason."""
    from videoadapt.preparing.scan import FAULTS, NOTES, summary

    words = FAULTS | NOTES
    for name, count in summary(rows).items():
        blamed = [row for row in rows if name in row.faults]
        lines = [f"{row.video.id} (line {row.video.line}): {row.reasons[name]}" for row in blamed]
        _show(count, f"{name}: {words[name]}" if name in words else name, lines)


def add_check(commands: Commands) -> None:
    """Let `prepare check` be called."""
    check = commands.add_parser(
        "check",
        help="find the same videos under other names or labels, within lists and between them",
        description="Which rows are one file, hold the same bytes, or look alike (clips cut from one film; this needs the "
        "package imagehash, and is only reported). Nothing is changed.",
    )
    check.add_argument("lists", nargs="+", type=place_text, metavar="LIST", help="lists of `path label` rows")
    check.add_argument("--bytes-only", action="store_true", help="do not look at pictures")
    check.add_argument("--decoder", default="decord", help="what reads the pictures (default decord)")
    check.add_argument("--out", type=place, default=Path("outputs/check"), metavar="FOLDER", help="for findings.csv")
    check.set_defaults(run=run_check)
    _add_reading(check)


def run_check(args: argparse.Namespace) -> int:
    """Compare lists."""
    from functools import partial
    from importlib.util import find_spec

    from videoadapt.config.shipped import find_list
    from videoadapt.preparing.comparison import ABSENT, KINDS, compare, write_findings

    near_copies = None
    if find_spec("imagehash") is None:
        print("pictures are not compared: this needs the package imagehash (pip install imagehash)")
    elif not args.bytes_only:
        from videoadapt.preparing.near_copies import find_near_copies

        decoder = _component("--decoder", args.decoder)
        near_copies = partial(find_near_copies, decoder=decoder, jobs=args.jobs, limit_sec=args.limit_sec)
    findings, unread = compare([str(find_list(name)) for name in args.lists], args.root, near_copies, args.labels)
    for kind, meaning in KINDS.items():
        found = [finding for finding in findings if finding.kind == kind]
        lines = [f"{f.other} and {f.one}{f': {f.frames} frames' if f.frames else ''}" for f in found]
        _show(len(lines), f"{kind}: {meaning}", lines)
    lines = [f"{place}: {why}" for place, why in unread]
    _show(len(lines), "unreadable: not compared, or by their bytes alone", lines)
    write_findings(findings, args.out / "findings.csv")
    print(f"{counted(len(findings), 'finding')}: {args.out / 'findings.csv'}")
    wrong = any(finding.kind != "alike" for finding in findings) or any(why == ABSENT for _, why in unread)
    return EXIT_UNREADABLE if wrong else 0


def add_reencode(commands: Commands) -> None:
    """Let `prepare reencode` be called."""
    reencode = commands.add_parser(
        "reencode",
        help="write every file of a list as H.264 mp4 that seeks fast and exactly",
        description="Closed groups of pictures, upright, even sizes, no sound. Times are kept, also of a variable rate. "
        "Every file is read back, and must have as many frames as its source. The same command resumes after a stop.",
    )
    reencode.add_argument(
        "--out", type=place, required=True, metavar="DIR", help="folder for the files and the new list"
    )
    reencode.add_argument("--short-side", type=int, default=256, metavar="PX", help="at most (default 256)")
    reencode.add_argument("--keyframe-every", type=int, default=12, metavar="N", help="frames (default 12)")
    reencode.add_argument("--crf", type=int, default=18, help="x264's quality, 0 to 51, lower is better (default 18)")
    reencode.set_defaults(run=run_reencode)
    _add_list(reencode)
    _add_reading(reencode)


def run_reencode(args: argparse.Namespace) -> int:
    """Re-encode a list."""
    from videoadapt.errors import ConfigError
    from videoadapt.preparing.encoding import Settings
    from videoadapt.preparing.reencode import reencode

    for key, value, low, high in (
        ("--short-side", args.short_side, 16, 8192),
        ("--keyframe-every", args.keyframe_every, 1, 1000),
        ("--crf", args.crf, 0, 51),
    ):
        if not low <= value <= high:
            raise ConfigError(f"{key} {value}: allowed: {low} to {high}")
    check_folder("--out", args.out)
    check_not_read("--out", args.out / Path(args.list).name, [args.list])
    settings = Settings(args.short_side, args.keyframe_every, args.crf)
    done = reencode(args.list, args.root, args.out, settings, args.jobs, args.limit_sec, args.labels)
    for name, reason in sorted(done.failed.items()):
        sys.stderr.write(f"left out: {name}: {reason}\n")
    if done.num_even_times:
        print(
            f"{counted(done.num_even_times, 'file has', 'files have')} no times of frames: even times at the mean rate"
        )
    before = (
        f" ({counted(done.num_done_before, 'file was', 'files were')} there before)" if done.num_done_before else ""
    )
    written = args.out / Path(args.list).name if done.videos else "no list"
    print(f"{written}: {counted(len(done.videos), 'row')}{before}; {counted(len(done.failed), 'file')} left out")
    return EXIT_UNREADABLE if done.failed else 0


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", required=True, type=place_text, help="list of `path label` rows")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """How rows are understood, and by how many processes."""
    parser.add_argument("--labels", choices=("single", "multi"), default="single", help="of a row (default single)")
    parser.add_argument("--root", type=place, default=Path(), help="folder that the paths of the list start from")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument("--limit-sec", type=float, default=600, help="longer at one file, and it is given up")


def _component(option: str, text: str) -> dict[str, Any]:
    """The name of a decoder or dataset, or a mapping with its arguments too. Raises ConfigError."""
    import yaml

    from videoadapt.errors import ConfigError, at_key
    from videoadapt.registry import DATASETS, DECODERS

    try:
        spec = yaml.safe_load(text) if text.startswith("{") else {"name": text}
    except yaml.YAMLError:
        spec = {}
    if not isinstance(spec, dict) or "name" not in spec:
        raise ConfigError(
            f"{option} {text}: expected a name, or a mapping such as '{{name: frame_folder, fps_hz: 25}}'"
        )
    with at_key(option):
        (DECODERS if option == "--decoder" else DATASETS).complete(spec)
    return spec


def _show(count: int, kind: str, lines: "Sequence[str]") -> None:
    """How many there are of a kind, and the first MOST_NAMED."""
    if count:
        print(f"{count:7d}  {kind}")
    for line in lines[:MOST_NAMED]:
        print(f"{'':9}{line}")
    if len(lines) > MOST_NAMED:
        print(f"{'':9}and {len(lines) - MOST_NAMED} more")
