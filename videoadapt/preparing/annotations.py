"""ActivityNet, AVA-Kinetics, Charades and EPIC-KITCHENS: whole films, and annotation files that say which seconds show what.

Each function takes the folder of the download, which holds the films at any depth, and returns a DataSet.
Raises DataListError where files are missing or do not agree.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from videoadapt import logger
from videoadapt.data.list_files import read_text
from videoadapt.errors import DataListError, counted
from videoadapt.paths import files_below
from videoadapt.preparing.downloads import DataSet, Download, Listed, videos_below
from videoadapt.preparing.published_files import as_published, csv_records, csv_rows, lines_of, only_file, read_films
from videoadapt.video.part import Part

ANNOTATED = '{"subset": ..., "annotations": [{"label": ..., "segment": [start, end]}, ...]}'  # a film of ActivityNet
Actions: TypeAlias = tuple[str, list[tuple[int, Part]]]  # a film, and the label and the part of each of its actions


def activitynet(source: Path, work: Path) -> DataSet:
    """activity_net.*.json: films called <id> or v_<id>; labels are class names in alphabetical order."""
    path = only_file(source, "activity_net*.json")
    where = videos_below(source)
    shown: dict[str, list[tuple[str, str, Part]]] = {"train": [], "val": []}
    for name, record in read_films(path, "database", ANNOTATED).items():
        with as_published(path, name, ANNOTATED):
            split = {"training": "train", "validation": "val"}.get(record["subset"])
            film = where.get(f"v_{name}") or where.get(name, f"v_{name}.mp4")
            if split is not None:  # of the testing films nothing is told
                shown[split] += [
                    (film, what["label"], Part(*map(float, what["segment"]))) for what in record["annotations"]
                ]
    names = sorted({label for rows in shown.values() for _, label, _ in rows})
    numbers = {name: number for number, name in enumerate(names)}
    lists = {split: [Listed(film, numbers[label], part) for film, label, part in rows] for split, rows in shown.items()}
    return DataSet(source, names, lists)


def charades(source: Path, work: Path) -> DataSet:
    """Charades_v1_train.csv, Charades_v1_test.csv and Charades_v1_classes.txt; labels are the numbers in c000 to c156."""
    names, films = _charades(source)
    lists = {
        split: [Listed(film, label, part) for film, actions in of for label, part in actions] for split, of in films
    }
    return DataSet(source, names, lists)


def charades_films(source: Path, work: Path) -> DataSet:
    """The same, for whole films with the labels of all their actions (`data.labels` multi).

    The published evaluation of mAP gives films without an action a score of minus infinity (gsig/charades-algorithms,
    pytorch/utils/map.py, after Charades_v1_classify.m), behind all others: leaving them out of the test list is the same.
    """
    names, films = _charades(source)
    lists = {
        split: [Listed(film, -1, None, tuple(sorted({label for label, _ in actions}))) for film, actions in of]
        for split, of in films
    }
    of_test = len(lists["test"])
    lists["test"] = [row for row in lists["test"] if row.labels]
    if left_out := of_test - len(lists["test"]):
        logger.info(
            "test: %s left out, which Charades' evaluation does not count",
            counted(left_out, "film without an action is", "films without an action are"),
        )
    return DataSet(source, names, lists)


def _charades(source: Path) -> tuple[list[str], list[tuple[str, list[Actions]]]]:
    """The class names, and of train and test the films with the label and the part of each action."""
    path = only_file(source, "Charades*_classes.txt")
    rows = [row.partition(" ") for row in lines_of(path)]
    if [number for number, _, _ in rows] != [f"c{number:03}" for number in range(len(rows))]:
        raise DataListError(f"{path}: its rows are not numbered from c000")
    numbers = {number: label for label, (number, _, _) in enumerate(rows)}
    where = videos_below(source)
    films: dict[str, list[Actions]] = {"train": [], "test": []}
    for split, listed in films.items():
        path = only_file(source, f"Charades*_{split}.csv")
        for row in csv_records(path, "id", "actions"):
            with as_published(path, row["id"]):
                actions = [action.split() for action in row["actions"].split(";") if action]
                parts = [(numbers[number], Part(float(start), float(end))) for number, start, end in actions]
                listed.append((where.get(row["id"], f"{row['id']}.mp4"), parts))
    return [name.strip() for _, _, name in rows], list(films.items())


def epic_kitchens(source: Path, work: Path, of: Literal["verb", "noun"]) -> DataSet:
    """EPIC_100_train.csv and EPIC_100_validation.csv; labels are the numbers of EPIC_100_verb_classes.csv, or of the nouns'.

    The authors keep the nouns in EPIC_100_noun_classes_v2.csv; older copies have no `_v2`.
    """
    newer = f"EPIC_100_{of}_classes_v2.csv"
    path = only_file(source, newer if files_below(source, newer) else f"EPIC_100_{of}_classes.csv")
    names = {row["id"]: row["key"] for row in csv_records(path, "id", "key")}
    if [*names] != [str(number) for number in range(len(names))]:
        raise DataListError(f"{path}: its ids are not 0 to {len(names) - 1}")
    numbers = {number: label for label, number in enumerate(names)}
    where = videos_below(source)
    lists: dict[str, list[Listed]] = {"train": [], "val": []}
    for split, file in (("train", "EPIC_100_train.csv"), ("val", "EPIC_100_validation.csv")):
        path = only_file(source, file)
        for row in csv_records(path, "narration_id", "video_id", "start_timestamp", "stop_timestamp", f"{of}_class"):
            film = where.get(row["video_id"], f"{row['video_id']}.MP4")
            with as_published(path, row["narration_id"]):
                part = Part(_seconds(row["start_timestamp"]), _seconds(row["stop_timestamp"]))
                lists[split].append(Listed(film, numbers[row[f"{of}_class"]], part))
    return DataSet(source, [*names.values()], lists)


def ava_kinetics(source: Path, work: Path) -> DataSet:
    """kinetics_train_v*.csv, kinetics_val_v*.csv and ava_action_list_v*.pbtxt of AVA-Kinetics (arXiv 2005.00214).

    A row of them has no header: film, second of a key frame in the whole film, box, action, and person in AVA's own; one of a
    key frame without an action ends after the second. A video here is the three seconds round a key frame, with the actions
    of everybody in it (`data.labels` multi). Films are Kinetics' clips <id>_<start>_<end>, or whole ones <id>.
    """
    names = _ava_names(only_file(source, "ava_action_list_v*.pbtxt"))
    numbers = {number: label for label, number in enumerate(names)}
    clips = _Clips(videos_below(source))
    lists: dict[str, list[Listed]] = {}
    for split in ("train", "val"):
        path = only_file(source, f"kinetics_{split}_v*.csv")
        shown: dict[tuple[str, str], set[int]] = {}
        for row in csv_rows(path):
            with as_published(path, ",".join(row)):
                film, second, *_ = row
                actions = shown.setdefault((film, str(float(second))), set())
                if len(row) > 2:
                    actions.add(numbers[row[6]])
        lists[split] = [
            Listed(*clips.around(film, float(second)), labels=tuple(sorted(actions)))
            for (film, second), actions in shown.items()
        ]
    return DataSet(source, [*names.values()], lists)


def _ava_names(path: Path) -> dict[str, str]:
    """Number -> name of AVA's actions, in order of the numbers: `name: "..."`, then `label_id: 1`, or `id: 1`."""
    found = re.findall(r'name:\s*"(.+?)"\s*(?:label_)?id:\s*(\d+)', read_text(path))
    if not found:
        raise DataListError(f"{path}: holds no action with a name and an id")
    return {number: name for name, number in sorted(found, key=lambda both: int(both[1]))}


class _Clips:
    """Kinetics' clips, each of which begins at a second of its film."""

    def __init__(self, where: Mapping[str, str]):
        self._of: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
        for stem, path in where.items():
            clip = re.fullmatch(r"(.+)_(\d{6})_(\d{6})", stem)
            film, start, end = clip.groups() if clip else (stem, 0, math.inf)
            self._of[film].append((float(start), float(end), path))

    def around(self, film: str, second: float) -> tuple[str, int, Part]:
        """The path of the clip that holds this second, no label, and the 1.5 s before and after it that are in the clip."""
        holding = (clip for clip in self._of.get(film, ()) if clip[0] <= second <= clip[1])
        start, end, path = next(holding, (0.0, math.inf, f"{film}.mp4"))
        first, last = max(second - 1.5, start) - start, min(second + 1.5, end) - start
        return path, -1, Part(round(first, 6), round(last, 6))


def _seconds(clock: str) -> float:
    """Of hours:minutes:seconds."""
    hours, minutes, seconds = clock.split(":")
    return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 6)


FILMS: dict[str, Download] = {
    "activitynet": activitynet,
    "ava-kinetics": ava_kinetics,
    "charades": charades,
    "charades-films": charades_films,
    "epic-verbs": partial(epic_kitchens, of="verb"),
    "epic-nouns": partial(epic_kitchens, of="noun"),
}
