"""HMDB51, UCF101, Something-Something V2 and Kinetics as they are downloaded: where the videos lie, and what the lists are.

Each function takes the folder of the download and a folder to unpack to, and returns a DataSet. Archives are
unpacked; where none lie, the same content is looked for unpacked. Raises DataListError where files are missing or do not agree.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from videoadapt.data.label_sets import Labels
from videoadapt.errors import DataListError
from videoadapt.paths import files_below, files_in, is_file, is_folder
from videoadapt.preparing.archives import unpack
from videoadapt.preparing.published_files import as_published, csv_records, lines_of, only_file, read_json
from videoadapt.video.part import Part


class Listed(NamedTuple):
    """A row of a published list: a path below the root, also of an absent file; with several `labels`, `label` is -1."""

    path: str
    label: int
    part: Part | None = None
    labels: Labels | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set as it was published. `root`: what `data.root` is to be; `lists`: name -> rows."""

    root: Path
    class_names: list[str]
    lists: dict[str, list[Listed]]


Download: TypeAlias = Callable[[Path, Path], DataSet]


def hmdb51(source: Path, work: Path) -> DataSet:
    """hmdb51_org.rar, which holds a rar for each class, and test_train_splits.rar (1: training, 2: test, 0: neither)."""
    root = source
    if is_file(source / "hmdb51_org.rar"):
        root = work / "videos"
        unpack([source / "hmdb51_org.rar"], work / "class_rars")
        for archive in files_below(work / "class_rars", "*.rar"):
            unpack([archive], root)
    splits = _unpacked_or_source(source, work, "test_train_splits.rar")
    files = files_below(splits, "*_test_split[123].txt")
    names = sorted({path.name[: -len("_test_split1.txt")] for path in files})
    if not names:
        raise DataListError(f"{source}: holds neither test_train_splits.rar nor <class>_test_split1.txt files")
    lists: dict[str, list[Listed]] = {f"{s}_split{n}": [] for n in "123" for s in ("train", "test")}
    for path in files:
        name, number = path.name[: -len("_test_split1.txt")], path.stem[-1]
        for row in lines_of(path):
            video, _, mark = row.rpartition(" ")
            side = {"1": "train", "2": "test"}.get(mark)
            if side:
                lists[f"{side}_split{number}"].append(Listed(f"{name}/{video.strip()}", names.index(name)))
            elif mark != "0":
                raise DataListError(f"{path}: {row!r} is not a video and 0, 1 or 2")
    return DataSet(_folder_with(root, names), names, lists)


def ucf101(source: Path, work: Path) -> DataSet:
    """UCF101.rar and UCF101TrainTestSplits-RecognitionTask.zip; labels are those of classInd.txt, less one."""
    root = source
    if is_file(source / "UCF101.rar"):
        root = work / "videos"
        unpack([source / "UCF101.rar"], root)
    splits = _unpacked_or_source(source, work, "UCF101TrainTestSplits-RecognitionTask.zip")
    path = only_file(splits, "classInd.txt")
    rows = [row.partition(" ") for row in lines_of(path)]
    if [number for number, _, name in rows if name] != [str(number) for number in range(1, len(rows) + 1)]:
        raise DataListError(f"{path}: its rows are not names that are numbered from 1")
    names = [name.strip() for _, _, name in rows]
    lists: dict[str, list[Listed]] = {}
    for number in (1, 2, 3):
        for side in ("train", "test"):
            path = only_file(splits, f"{side}list{number:02}.txt")
            videos = [row.split()[0] for row in lines_of(path)]
            unknown = [video for video in videos if video.split("/")[0] not in names]
            if unknown:
                raise DataListError(f"{path}: {unknown[0]} is of no class in classInd.txt")
            lists[f"{side}_split{number}"] = [Listed(video, names.index(video.split("/")[0])) for video in videos]
    return DataSet(_folder_with(root, names), names, lists)


def ssv2(source: Path, work: Path) -> DataSet:
    """The parts 20bn-something-something-v2-?? of one tar, or a folder of webm; labels.json, train.json, validation.json."""
    root = source
    parts = sorted(p for p in files_in(source, "20bn-something-something-v2-*") if re.search(r"-\d\d$", p.name))
    if parts:
        expected = [f"20bn-something-something-v2-{number:02}" for number in range(len(parts))]
        if [part.name for part in parts] != expected:
            raise DataListError(f"{source}: parts are missing between {parts[0].name} and {parts[-1].name}")
        root = work / "videos"
        unpack(parts, root)
    first = next(iter(files_below(root, "*.webm")), None)
    if first is None:
        raise DataListError(f"{root}: holds no webm; expected 20bn-something-something-v2-?? or a folder of <id>.webm")
    path = only_file(source, "*labels.json")
    with as_published(path, "its content"):
        labels = {str(name): int(number) for name, number in read_json(path).items()}
    names = sorted(labels, key=labels.__getitem__)
    if [labels[name] for name in names] != list(range(len(names))):
        raise DataListError(f"{path}: its numbers are not 0 to {len(names) - 1}")
    lists = {}
    for name, pattern in (("train", "*train.json"), ("val", "*validation.json")):
        path = only_file(source, pattern)
        rows = []
        records = read_json(path)
        if not isinstance(records, list):
            raise DataListError(f"{path}: holds no list of videos, as published; download it again")
        for record in records:
            with as_published(path, record):
                video, template = record["id"], re.sub(r"[\[\]]", "", record["template"])
            if template not in labels:
                raise DataListError(f"{path}: the template {template!r} of video {video} is not in labels.json")
            rows.append(Listed(f"{video}.webm", labels[template]))
        lists[name] = rows
    return DataSet(first.parent, names, lists)


def kinetics(source: Path, work: Path) -> DataSet:
    """train.csv and val.csv (or validate.csv), and clips in tar or tar.gz parts, or in folders of any depth.

    Of two clips with one name the one below a folder `replacement...` wins: CVDF's replacement_for_corrupted_k400.tgz.
    A clip's name is <youtube_id>_<start, six digits>_<end, six digits>; of a whole film, <youtube_id>, these seconds are
    taken. Labels are class names in alphabetical order.
    """
    archives = sorted(path for path in files_below(source, "*") if path.name.endswith((".tar", ".tar.gz", ".tgz")))
    root = work / "videos" if archives else source
    for archive in sorted(archives, key=lambda path: (_is_replacement(path.relative_to(source) / "x"), path)):
        unpack([archive], root)
    where = videos_below(root)
    paths = {name: only_file(source, pattern) for name, pattern in (("train", "train.csv"), ("val", "val*.csv"))}
    rows = {name: csv_records(path, "label", "youtube_id", "time_start", "time_end") for name, path in paths.items()}
    names = sorted({row["label"] for row in rows["train"]})
    numbers = {name: label for label, name in enumerate(names)}
    lists: dict[str, list[Listed]] = {}
    for name, records in rows.items():
        lists[name] = []
        for row in records:
            if row["label"] not in numbers:
                raise DataListError(f"{source}: {name} has the class {row['label']!r}, and train.csv does not")
            with as_published(paths[name], ",".join(map(str, row.values()))):
                start, end = (int(row[key]) for key in ("time_start", "time_end"))
                stem = f"{row['youtube_id']}_{start:06}_{end:06}"
                part = Part(float(start), float(end))
            label, film = numbers[row["label"]], where.get(row["youtube_id"])
            if film and stem not in where:
                lists[name].append(Listed(film, label, part))
            else:
                lists[name].append(Listed(where.get(stem, f"{stem}.mp4"), label))
    return DataSet(root, names, lists)


def videos_below(root: Path) -> dict[str, str]:
    """Stem -> path below `root` of all videos; of two with one stem the replacement, then the first."""
    where: dict[str, str] = {}
    for path in sorted(files_below(root, "*"), key=lambda path: (not _is_replacement(path.relative_to(root)), path)):
        if path.suffix.lower() in (".mp4", ".mkv", ".webm") and not path.name.startswith("."):
            where.setdefault(path.stem, path.relative_to(root).as_posix())
    return where


def _is_replacement(path: Path) -> bool:
    return any(part.lower().startswith("replacement") for part in path.parts[:-1])


DOWNLOADS: dict[str, Download] = {
    "hmdb51": hmdb51, "ucf101": ucf101, "ssv2": ssv2, "kinetics": kinetics,
}  # fmt: skip


def _unpacked_or_source(source: Path, work: Path, archive: str) -> Path:
    if not is_file(source / archive):
        return source
    unpack([source / archive], work / "splits")
    return work / "splits"


def _folder_with(root: Path, class_names: list[str]) -> Path:
    """The folder at `root` or below that holds the class folders."""
    folders = (root, *sorted(path for path in files_below(root, "*") if is_folder(path)))
    best = max(folders, key=lambda folder: sum(is_folder(folder / name) for name in class_names))
    if not any(is_folder(best / name) for name in class_names):
        raise DataListError(f"{root}: holds no folder with class folders such as {class_names[0]}")
    return best
