"""Prepare videos for training: check lists, make them from folders or official archives, re-encode for fast seeking."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoadapt.cli._command import EXIT_UNREADABLE, command, program
from videoadapt.cli._output import check_folder
from videoadapt.cli._paths import place, place_text

if TYPE_CHECKING:
    from videoadapt.preparing.scan import Row

MOST_NAMED = 10  # files of each fault on the terminal; the report has all

PUBLISHED = {
    "hmdb51": "hmdb51_org.rar and test_train_splits.rar",
    "ucf101": "UCF101.rar and UCF101TrainTestSplits-RecognitionTask.zip",
    "ssv2": "20bn-something-something-v2-?? or webm files, and labels.json, train.json, validation.json",
    "kinetics": "train.csv, val.csv, and tar.gz parts or folders of <id>_<start>_<end>.mp4, or whole films <id>.mp4",
    "activitynet": "activity_net.v1-3.min.json, and folders of v_<id>.mp4",
    "ava-kinetics": "kinetics_train_v1.0.csv, _val_v1.0.csv and ava_action_list_v2.2.pbtxt, and clips <id>_<start>_<end>.mp4",
    "charades": "Charades_v1_train.csv, _test.csv and _classes.txt, and folders of <id>.mp4",
    "charades-films": "the same, for lists of whole films with several labels (data.labels multi)",
    "epic-verbs": "EPIC_100_train.csv, _validation.csv and _verb_classes.csv, and folders of <video_id>.MP4",
    "epic-nouns": "EPIC_100_train.csv, _validation.csv and _noun_classes.csv, and folders of <video_id>.MP4",
    "nuswide": "TrainImagelist.txt, TestImagelist.txt, Labels_<concept>_Train.txt and _Test.txt, and folders of photographs",
}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; `run` of the result is the command's function."""
    parser = argparse.ArgumentParser(
        prog=program("prepare"),
        description=__doc__,
        epilog="Exit codes: 0 done, 2 an error, 3 some files or rows cannot be used (each is named).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
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
    folder = commands.add_parser(
        "folder",
        help="class folders to train, validation and test lists and class names",
        description="The class folders lie in FOLDER, or in folders train, val and test in it (also training, validation, "
        "testing, trainset and so on), which are then the lists. Files with the same bytes are taken once.",
    )
    folder.add_argument(
        "folder", type=place, metavar="FOLDER", help="one folder of videos for each class, or for each list"
    )
    folder.add_argument("--out", type=place, required=True, metavar="LISTS", help="folder for the lists")
    given = "where there are no folders train, val, test"
    folder.add_argument("--val", type=float, metavar="SHARE", help=f"of all videos (default 0.1, {given})")
    folder.add_argument("--test", type=float, metavar="SHARE", help=f"of all videos (default 0.2, {given})")
    folder.add_argument("--seed", type=int, default=0, help="another seed, another division")
    folder.add_argument("--group", metavar="REGEX", help="videos in which it finds the same text stay together")
    folder.add_argument("--files", choices=("videos", "images"), default="videos", help="what to list (default videos)")
    folder.set_defaults(run=run_folder)
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
    for name, layout in PUBLISHED.items():
        published = commands.add_parser(name, help=f"from {layout}", description=f"SOURCE holds {layout}.")
        published.add_argument("source", type=place, help="folder of the download, as archives or unpacked")
        published.add_argument("--out", type=place, required=True, metavar="DIR", help="for the videos and lists")
        published.set_defaults(run=run_published, name=name)
    for reader in (scan, reencode):
        reader.add_argument("--list", required=True, type=place_text, help="list of `path label` rows")
    for reader in (scan, reencode, check):
        reader.add_argument("--labels", choices=("single", "multi"), default="single", help="of a row (default single)")
        reader.add_argument("--root", type=place, default=Path(), help="folder that the paths of the list start from")
        reader.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
        reader.add_argument("--limit-sec", type=float, default=600, help="longer at one file, and it is given up")
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.config.shipped import find_list
    from videoadapt.errors import ConfigError
    from videoadapt.log import setup_logging

    setup_logging()
    if getattr(args, "jobs", 1) < 1:
        raise ConfigError(f"--jobs {args.jobs}: allowed: 1 or more")
    if "list" in args:
        args.list = str(find_list(args.list))
    code: int = args.run(args)
    return code


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


def run_scan(args: argparse.Namespace) -> int:
    """Scan a list."""
    from videoadapt.config.shipped import find_list
    from videoadapt.data.columns import problem_of
    from videoadapt.data.list_files import read_classes
    from videoadapt.errors import ConfigError
    from videoadapt.preparing.scan import scan, write_report
    from videoadapt.registry import DATASETS

    decoder = _component("--decoder", args.decoder)
    dataset = DATASETS.build(_component("--dataset", args.dataset))
    if args.columns and (problem := problem_of(args.columns.split(","))):
        raise ConfigError(f"--columns {args.columns}: {problem}")
    if args.columns:
        dataset.columns = args.columns.split(",")
    if args.labels == "multi":
        if not hasattr(dataset, "labels"):
            raise ConfigError(f"--labels multi: --dataset {args.dataset} has one label a row; allowed: video_list")
        dataset.labels = args.labels
    num_classes = args.classes
    if num_classes is not None:
        is_number = num_classes.isdecimal() and len(num_classes) <= 18
        num_classes = int(num_classes) if is_number else len(read_classes(find_list(num_classes)))
    folder = args.out or Path("outputs") / f"scan_{Path(args.list).stem}"
    check_folder("--out", folder)
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
    print(f"{kept} of {len(rows)} rows are kept: {clean or 'no list'}; all findings: {folder / 'report.csv'}")
    return 0 if kept == len(rows) else EXIT_UNREADABLE


def show_findings(rows: "Sequence[Row]") -> None:
    """Print how many rows have each fault and note, and up to MOST_NAMED of those with a fault, with its reason."""
    from videoadapt.preparing.scan import FAULTS, NOTES, summary

    words = FAULTS | NOTES
    for name, count in summary(rows).items():
        blamed = [row for row in rows if name in row.faults]
        lines = [f"{row.video.id} (line {row.video.line}): {row.reasons[name]}" for row in blamed]
        _show(count, f"{name}: {words[name]}" if name in words else name, lines)


def run_check(args: argparse.Namespace) -> int:
    """Compare lists."""
    from functools import partial
    from importlib.util import find_spec

    from videoadapt.config.shipped import find_list
    from videoadapt.preparing.comparison import KINDS, compare, write_findings

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
    _show(len(lines), "unreadable: the pictures of these were not compared", lines)
    write_findings(findings, args.out / "findings.csv")
    print(f"{len(findings)} findings: {args.out / 'findings.csv'}")
    return EXIT_UNREADABLE if any(finding.kind != "alike" for finding in findings) else 0


def _show(count: int, kind: str, lines: "Sequence[str]") -> None:
    """How many there are of a kind, and the first MOST_NAMED."""
    if count:
        print(f"{count:7d}  {kind}")
    for line in lines[:MOST_NAMED]:
        print(f"{'':9}{line}")
    if len(lines) > MOST_NAMED:
        print(f"{'':9}and {len(lines) - MOST_NAMED} more")


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
    settings = Settings(args.short_side, args.keyframe_every, args.crf)
    done = reencode(args.list, args.root, args.out, settings, args.jobs, args.limit_sec, args.labels)
    for name, reason in sorted(done.failed.items()):
        sys.stderr.write(f"left out: {name}: {reason}\n")
    if done.num_even_times:
        print(f"{done.num_even_times} files give their frames no times of their own: even times at the mean rate")
    before = f" ({done.num_done_before} files were there before)" if done.num_done_before else ""
    written = args.out / Path(args.list).name if done.videos else "no list"
    print(f"{written}: {len(done.videos)} rows{before}; {len(done.failed)} files left out")
    return EXIT_UNREADABLE if done.failed else 0


def run_folder(args: argparse.Namespace) -> int:
    """Make lists from class folders."""
    from videoadapt.data.class_folders import classes_without, divided, read_class_folders, write_lists

    check_folder("--out", args.out)
    found = read_class_folders(args.folder, args.files)
    lists, copies = divided(found, {"val": args.val, "test": args.test}, args.group, args.seed)
    write_lists(args.out, lists, found.class_names)
    for folder, split in sorted(found.split_of.items()):
        print(f"{args.folder / folder}: taken for the {split} list; its folders are the classes")
    for split, names in classes_without(lists, found.class_names).items():
        print(f"{split} holds no video of {len(names)} classes, first {names[0]!r}")
    if found.others:
        print(f"{len(found.others)} files are no {args.files} by their suffix and left out, first {found.others[0]!r}")
    for video, other in copies.same_label:
        print(f"left out, the same bytes as {other.id}: {video.id}")
    for video, other in copies.other_label:
        sys.stderr.write(f"left out, the same bytes in another class, as {other.id}: {video.id}\n")
    counts = ", ".join(f"{len(videos)} {split}" for split, videos in lists.items() if videos)
    print(f"{args.out}: {len(found.class_names)} classes; {counts}")
    return EXIT_UNREADABLE if copies.other_label else 0


def run_published(args: argparse.Namespace) -> int:
    """Make lists from a downloaded data set."""
    from videoadapt.preparing.published import OFFICIAL, prepare

    check_folder("--out", args.out)
    root, counts, different = prepare(args.name, args.source, args.out, OFFICIAL[args.name])
    for line in different:
        sys.stderr.write(f"not as published: {line}\n")
    print(f"{args.out / 'lists'}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    print(f"the configs take: data.root {root}")
    return EXIT_UNREADABLE if different else 0
