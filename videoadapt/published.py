"""A downloaded data set to lists that are what its authors published, or the difference in words."""

import hashlib
from pathlib import Path

from videoadapt.class_folders import write_lists
from videoadapt.downloads import DOWNLOADS
from videoadapt.errors import DataListError
from videoadapt.official import Official
from videoadapt.structures import Video


def prepare(name: str, source: Path, out: Path, official: Official) -> tuple[Path, dict[str, int], list[str]]:
    """Unpack `source` where needed, write lists of the videos that are there, and compare with `official`.

    Returns the folder for `data.root`, the rows of each list, and a line for each difference: other counts or checksums
    than published, and absent videos, all of which stand in `out/lists/missing.txt`.
    """
    if not source.is_dir():
        raise DataListError(f"{source}: is no folder; expected the one with the downloaded files of {name}")
    if out.resolve().is_relative_to(source.resolve()):
        raise DataListError(f"--out {out}: lies in {source}, where its lists would be taken for the download's")
    found = DOWNLOADS[name](source, out)
    different = []
    if len(found.class_names) != official.num_classes:
        different.append(f"{len(found.class_names)} classes; published: {official.num_classes}")
    _compare("classes", "".join(f"{n}\n" for n in found.class_names), official, different)
    lists: dict[str, list[Video]] = {}
    missing: list[str] = []
    for split, rows in found.lists.items():
        rows = sorted(rows, key=lambda row: (row[1], row[0]))
        if len(rows) != official.rows.get(split, len(rows)):
            different.append(f"{split}: {len(rows)} rows; published: {official.rows[split]}")
        _compare(split, "".join(f"{video} {label}\n" for video, label in rows), official, different)
        videos = [Video(video, found.root / video, label) for video, label in rows]
        lists[split] = [video for video in videos if video.path.is_file()]
        absent = [video.id for video in videos if not video.path.is_file()]
        if absent:
            different.append(f"{split}: {len(absent)} of {len(rows)} videos are not there, first {absent[0]}")
        missing += [f"{split} {name}\n" for name in absent]
    write_lists(out / "lists", lists, found.class_names)
    (out / "lists" / "missing.txt").write_text("".join(missing), encoding="utf-8")
    return found.root, {split: len(videos) for split, videos in lists.items()}, different


def _compare(name: str, text: str, official: Official, different: list[str]) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    if official.sha256.get(name, digest) != digest:
        different.append(
            f"{name}: not the published content (sha256 {digest[:12]}..., not {official.sha256[name][:12]}...)"
        )
