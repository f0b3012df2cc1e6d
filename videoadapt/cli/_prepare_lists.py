"""Of `prepare`, what makes lists: of class folders, and of published data sets as they are downloaded."""

import argparse
import sys

from videoadapt.cli._command import EXIT_UNREADABLE
from videoadapt.cli._options import Commands
from videoadapt.cli._output import check_folder
from videoadapt.cli._paths import place
from videoadapt.errors import counted

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


def add_folder(commands: Commands) -> None:
    """Let `prepare folder` be called."""
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


def run_folder(args: argparse.Namespace) -> int:
    """Make lists from class folders."""
    from videoadapt.data.class_folders import read_class_folders
    from videoadapt.data.division import divided, missing_classes, write_lists

    check_folder("--out", args.out)
    found = read_class_folders(args.folder, args.files)
    lists, copies = divided(found, {"val": args.val, "test": args.test}, args.group, args.seed)
    write_lists(args.out, lists, found.class_names)
    for folder, split in sorted(found.split_of.items()):
        print(f"{args.folder / folder}: taken for the {split} list; its folders are the classes")
    for line in missing_classes(lists, found):
        print(line)
    if found.others:
        others = counted(len(found.others), "file is", "files are")
        print(f"{others} left out, no {args.files} by suffix, first {found.others[0]!r}")
    for video, other in copies.same_label:
        print(f"left out, the same bytes as {other.id}: {video.id}")
    for video, other in copies.other_label:
        sys.stderr.write(f"left out, the same bytes in another class, as {other.id}: {video.id}\n")
    counts = ", ".join(f"{len(videos)} {split}" for split, videos in lists.items() if videos)
    print(f"{args.out}: {len(found.class_names)} classes; {counts}")
    return EXIT_UNREADABLE if copies.other_label else 0


def add_published(commands: Commands) -> None:
    """Let `prepare hmdb51` and the like be called."""
    for name, layout in PUBLISHED.items():
        published = commands.add_parser(name, help=f"from {layout}", description=f"SOURCE holds {layout}.")
        published.add_argument("source", type=place, help="folder of the download, as archives or unpacked")
        published.add_argument("--out", type=place, required=True, metavar="DIR", help="for the videos and lists")
        published.set_defaults(run=run_published, name=name)


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
