"""What the authors of the data sets published: numbers of classes and videos, and checksums of classes and splits."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from videoadapt.data.division import write_lists
from videoadapt.data.structures import Video
from videoadapt.data.videos import WHOLE
from videoadapt.errors import DataListError, counted
from videoadapt.files import write_text
from videoadapt.paths import is_file, is_folder
from videoadapt.preparing.annotations import FILMS
from videoadapt.preparing.downloads import DOWNLOADS
from videoadapt.preparing.pictures import PICTURES
from videoadapt.processes.lock import only_process_in


@dataclass(frozen=True)
class Official:
    """`rows`: videos of each list. `sha256`: of classes.txt and of lists as they are written here, sorted by label and path.

    An empty mapping, or a name that is not in it, is not checked: copies of Kinetics differ, and its lists with them.
    """

    num_classes: int
    rows: Mapping[str, int] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)


OFFICIAL = {
    "hmdb51": Official(
        51,
        {f"{side}_split{n}": count for side, count in (("train", 3570), ("test", 1530)) for n in (1, 2, 3)},
        {
            "classes": "c24c56a7af6f3ea55c8fb2a8e5b2c3a42644fcc5d86e49313536cfbd3499538a",
            "test_split1": "5346fa19d1f3d8c3f8d80a552713fa958faea5481a5571f77710ca754ae464d5",
            "test_split2": "b655e6974c6d28de550385ce3badec2345e476f6a504565268d4b45d426849d7",
            "test_split3": "edfe3cd7711103db8abfd9d3ad899f4b873fae5ee6b9192c15f0d0038fc8dc5c",
            "train_split1": "700b6e5f2852900112262690833ae8b8226c69b09c9f07e0df2426c1dc187ad7",
            "train_split2": "4e9d91f0116f78a7b4a11424ae34bb82ef5b54b444b3d6c8485f0fee38842a72",
            "train_split3": "3185204aa8a84180987cb3be2778b743170f91c148055357b4bcfd7fbabbe78b",
        },
    ),
    "ucf101": Official(
        101,
        {
            "train_split1": 9537, "test_split1": 3783, "train_split2": 9586,
            "test_split2": 3734, "train_split3": 9624, "test_split3": 3696,
        },
        {
            "classes": "fabeefc51625dad8a5b960156ccf75eea4c3b914d95bc02b43618fd61ecd1930",
            "test_split1": "511c046de26f46818ad8ea45953261b0221500b1f35b08ac8359dda120776dba",
            "test_split2": "563b125e9272875c24b6c78fe408cf191e8b04f62ef67d8bdbb0e7a8d554b35c",
            "test_split3": "2fa312b846fd645dee0182ff4df9a09dd4ba077e4d7c2e0cbe57c8f49812eedb",
            "train_split1": "7d0801849950cf822b1619180359de49d97b2a82f745cadb510ba2e908c97ee1",
            "train_split2": "e6c63df1e43f16b97737fb6a020f180457f9bf524023819e31cf89c453a5c173",
            "train_split3": "2651c4d61baf20311b9b3e05cd93e0487948ae03495d75f1f5ec3ab4a91f2505",
        },
    ),
    "ssv2": Official(
        174,
        {"train": 168_913, "val": 24_777},
        {"classes": "c9c5a86ece619e1ab2e7ca0614c85377a534873e17108b13243e5d22089a0a85"},
    ),
    "activitynet": Official(200),
    "ava-kinetics": Official(80),
    "charades": Official(157),
    "charades-films": Official(157, {"train": 7_985}),
    "epic-verbs": Official(97),
    "epic-nouns": Official(300),
    "nuswide": Official(81, {"train": 161_789, "test": 107_859}),
    "kinetics": Official(
        400, {}, {"classes": "e9f2806fe9109b851a80a74841244f6f8c9d10917fa0229cd82bab67f2f8e28f"}
    ),
}  # fmt: skip


def prepare(name: str, source: Path, out: Path, official: Official) -> tuple[Path, dict[str, int], list[str]]:
    """Unpack `source` where needed, write lists of the videos that are there, and compare with `official`.

    Returns the folder for `data.root`, the rows of each list, and a line for each difference: other counts or checksums
    than published, absent videos, and parts that no list can hold; all of these stand in `out/lists/missing.txt`. Raises
    ConfigError where another process prepares into `out`.
    """
    if not is_folder(source):
        raise DataListError(f"{source}: is no folder; expected the one with the downloaded files of {name}")
    if out.resolve().is_relative_to(source.resolve()):
        raise DataListError(f"--out {out}: lies in {source}, where its lists would be taken for the download's")
    out.mkdir(parents=True, exist_ok=True)
    with only_process_in(out, "--out"):
        return _prepare(name, source, out, official)


def _prepare(name: str, source: Path, out: Path, official: Official) -> tuple[Path, dict[str, int], list[str]]:
    found = (DOWNLOADS | FILMS | PICTURES)[name](source, out)
    different = []
    if len(found.class_names) != official.num_classes:
        different.append(f"{len(found.class_names)} classes; published: {official.num_classes}")
    _compare("classes", "".join(f"{n}\n" for n in found.class_names), official, different)
    lists: dict[str, list[Video]] = {}
    missing: list[str] = []
    for split, rows in found.lists.items():
        rows = sorted(rows, key=lambda row: (row.label, row.path, row.part or WHOLE))
        if len(rows) != official.rows.get(split, len(rows)):
            different.append(f"{split}: {counted(len(rows), 'row')}; published: {official.rows[split]}")
        _compare(split, "".join(f"{row.path} {row.label}\n" for row in rows), official, different)
        videos = [Video(row.path, found.root / row.path, row.label, part=row.part, labels=row.labels) for row in rows]
        videos = _one_label_each(split, videos, different, missing)
        lists[split] = [video for video in videos if is_file(video.path)]
        absent = [video.id for video in videos if not is_file(video.path)]
        if absent:
            of = f"of {counted(len(rows), 'video')}"
            different.append(f"{split}: {counted(len(absent), f'{of} is', f'{of} are')} not there, first {absent[0]}")
        missing += [f"{split} {name}\n" for name in absent]
    write_lists(out / "lists", lists, found.class_names)
    write_text(out / "lists" / "missing.txt", "".join(missing))
    return found.root, {split: len(videos) for split, videos in lists.items()}, different


def _one_label_each(split: str, videos: list[Video], different: list[str], missing: list[str]) -> list[Video]:
    """Each part once; without those that end before they start, or that have several labels, which are said."""
    if not any(video.part for video in videos):
        return videos
    labels: dict[str, set[int]] = defaultdict(set)
    for video in videos:
        labels[video.id].add(video.label)
    parts = {video.id: video for video in videos}
    none = [name for name, video in parts.items() if video.part and video.part.problem]
    several = [name for name in parts if len(labels[name]) > 1]
    for names, why in ((none, "end before they start"), (several, "several classes name")):
        if names:
            different.append(
                f"{split}: {counted(len(names), 'part is', 'parts are')} left out, which {why}, first {names[0]}"
            )
    left_out = {*none, *several}
    missing += [f"{split} {name}\n" for name in parts if name in left_out]
    return [video for name, video in parts.items() if name not in left_out]


def _compare(name: str, text: str, official: Official, different: list[str]) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    if official.sha256.get(name, digest) != digest:
        different.append(
            f"{name}: not the published content (sha256 {digest[:12]}..., not {official.sha256[name][:12]}...)"
        )
