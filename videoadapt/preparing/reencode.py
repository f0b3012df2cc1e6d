"""Re-encoding a whole list: in parallel, each file whole or not at all, and never twice."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from videoadapt.data.datasets.video_list import read_list
from videoadapt.data.label_sets import Kind
from videoadapt.data.list_files import write_list
from videoadapt.data.structures import Video
from videoadapt.errors import DataListError, DecodeError
from videoadapt.files import drop_half_line, open_text, read_jsonl, remove_partial
from videoadapt.log import progress
from videoadapt.preparing.encoding import Settings, write_h264
from videoadapt.processes.lock import only_process_in
from videoadapt.processes.worker import Lost, map_in_processes
from videoadapt.video.files import state_of

JOURNAL = "reencoded.jsonl"  # one record a finished file: of which source, with which settings


@dataclass(frozen=True)
class Outcome:
    """What became of a list: rows of the new one, and the videos that are not in it, with reasons."""

    videos: list[Video]
    failed: dict[str, str]
    num_done_before: int
    num_even_times: int


def reencode(
    source: str, root: Path, out: Path, settings: Settings, jobs: int, limit_sec: float, labels: Kind = "single"
) -> Outcome:
    """Encode every file of the list `source` into `out` and write the new list there, under the old one's name.

    A file that an earlier call finished, from the same source file with the same settings, is not touched. Raises
    DataListError when the list cannot be read, or when a target would lie outside `out`, on its source, or on another
    target.
    """
    videos = read_list(source, root, labels)
    targets = _targets(videos, out)
    out.mkdir(parents=True, exist_ok=True)
    with only_process_in(out, "--out"):
        finished = {record["target"]: record for record in read_jsonl(out / JOURNAL)}
        names = list(dict.fromkeys(video.name for video in videos))
        sources = {video.name: video.path for video in videos}
        wanted, failed = _records(names, sources, targets, settings)
        done = [name for name in wanted if _is_done(out / targets[name], wanted[name], finished.get(targets[name]))]
        for name in done:
            wanted[name] = finished[targets[name]]
        todo = [name for name in wanted if name not in set(done)]
        items = [(sources[name], out / targets[name]) for name in todo]
        drop_half_line(out / JOURNAL)
        with open_text(out / JOURNAL, "a") as journal, progress("re-encode", len(names), "files") as line:
            line.start_at(len(names) - len(todo))
            for index, result in map_in_processes(partial(write_h264, settings=settings), items, jobs, limit_sec):
                name = todo[index]
                if isinstance(result, Lost):
                    failed[name] = result.reason
                    remove_partial(out / targets[name])
                elif isinstance(result, DecodeError):
                    failed[name] = str(result)
                else:
                    wanted[name] |= asdict(result)
                    journal.write(json.dumps(wanted[name], ensure_ascii=False) + "\n")
                    journal.flush()
                line.advance()
        new = [v._replace(name=targets[v.name], path=out / targets[v.name]) for v in videos if v.name not in failed]
        if new:
            write_list(out / Path(source).name, new)
    num_even = sum(record.get("times") == "even" for record in wanted.values())
    return Outcome(new, failed, len(done), num_even)


def _records(
    names: Sequence[str], sources: Mapping[str, Path], targets: Mapping[str, str], settings: Settings
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What the journal will say of each video, and why some cannot be read."""
    wanted, failed = {}, {}
    for name in names:
        try:
            wanted[name] = _record(name, sources[name], targets[name], settings)
        except OSError as error:
            failed[name] = f"{sources[name]}: {error.strerror}"
    return wanted, failed


def _targets(videos: Sequence[Video], out: Path) -> dict[str, str]:
    """The new name of every video: the old one with the suffix .mp4."""
    targets: dict[str, str] = {}
    owner: dict[str, str] = {}
    for video in videos:
        relative = Path(os.path.normpath(Path(video.name).with_suffix(".mp4")))
        if relative.is_absolute() or relative.parts[0] == "..":
            raise DataListError(
                f"{video.name}: leads out of --root, and would out of --out; choose a --root above all files"
            )
        target = relative.as_posix()
        if owner.setdefault(target, video.name) != video.name:
            raise DataListError(f"{owner[target]} and {video.name}: would both become {target}; rename one of them")
        if os.path.realpath(out / target) == os.path.realpath(video.path):
            raise DataListError(f"--out {out}: {video.name} would be written over itself; choose another folder")
        targets[video.name] = target
    return targets


def _record(name: str, source: Path, target: str, settings: Settings) -> dict[str, Any]:
    state = state_of(source)
    of_source = {} if state is None else {"source_bytes": state.size, "source_mtime_ns": state.mtime_ns}
    return {"target": target, "source": name, **of_source, "settings": asdict(settings)}


def _is_done(target: Path, wanted: Mapping[str, Any], finished: Mapping[str, Any] | None) -> bool:
    """True when the journal's newest record of this target says the same, and the file is there at its full size."""
    if finished is None or not wanted.items() <= finished.items():
        return False
    return target.is_file() and target.stat().st_size == finished["size_bytes"]
