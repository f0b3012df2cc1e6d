"""What W&B wrote into an offline run's file, by the records of its own package; the reader of the file is not in Python there.

The frame is that of LevelDB's logs: blocks of 32 KiB, in each pieces with a checksum, a length and the kind of piece.
"""

import json
import struct
from pathlib import Path
from typing import Any

_BLOCK, _HEAD, _START = 32768, 7, 7
_WHOLE, _LAST = 1, 4


def payloads(path: Path) -> list[bytes]:
    """The records of a .wandb file, as bytes."""
    data, at, found, open_record = path.read_bytes(), _START, [], b""
    assert data[:4] == b":W&B"
    while at + _HEAD <= len(data):
        if _BLOCK - at % _BLOCK < _HEAD:  # no piece begins so near to the end of a block
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + _HEAD])
        if not kind:
            break
        open_record += data[at + _HEAD : at + _HEAD + length]
        at += _HEAD + length
        if kind in (_WHOLE, _LAST):
            found.append(open_record)
            open_record = b""
    return found


def records(path: Path) -> list[Any]:
    """The records of a .wandb file, as the package's own protobufs."""
    from wandb.proto.wandb_internal_pb2 import Record

    return [Record.FromString(payload) for payload in payloads(path)]


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _runs(folder: Path) -> list[Path]:
    """The files of all offline runs below a W&B folder, oldest first."""
    return sorted(folder.glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)


def history(folder: Path) -> list[dict[str, Any]]:
    """Entries of the history."""
    return [
        _items(record.history.item) for path in _runs(folder) for record in records(path) if record.HasField("history")
    ]


def summary(folder: Path) -> dict[str, Any]:
    """What was put into the summary."""
    found: dict[str, Any] = {}
    for path in _runs(folder):
        for record in records(path):
            if record.HasField("summary"):
                found |= _items(record.summary.update)
    return found


def settings(folder: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """(id, project, config) of each beginning, oldest first."""
    found = []
    for path in _runs(folder):
        run = next(record.run for record in records(path) if record.HasField("run"))
        found.append((run.run_id, run.project, _items(run.config.update)))
    return found


def exit_codes(folder: Path) -> list[int]:
    """How each beginning ended."""
    return [record.exit.exit_code for path in _runs(folder) for record in records(path) if record.HasField("exit")]
