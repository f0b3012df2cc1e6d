"""List published trunks that load here, with licence and size; say which are on this machine, or download one by its name."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from videoadapt.cli._command import command, program

if TYPE_CHECKING:
    from videoadapt.weights.names import Download


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("models"),
        description=__doc__,
        epilog="Any other repository of the hub, timm's names and addresses work as well: docs/weights.md.",
    )
    parser.add_argument("word", nargs="*", help="show only what has these words in its line: dinov2, apache, ssv2")
    parser.add_argument("--here", action="store_true", help="only what was downloaded, also what is not in the table")
    parser.add_argument("--json", action="store_true", help="one JSON object a trunk; null: unknown, ask its page")
    parser.add_argument(
        "--download",
        metavar="NAME",
        help="have these weights on this machine, as before a job on nodes without a network: hf:..., timm:... or https:...",
    )
    return parser.parse_args(arguments)


@command(stopped="stopped; the same command goes on where it was")
def main(arguments: list[str] | None = None) -> int:
    """List or download, and return the exit code."""
    args = parse_arguments(arguments)
    if args.download:
        return _download(args.download)
    rows = [row for row in _rows(args.here) if all(word.lower() in " ".join(_texts(row)).lower() for word in args.word)]
    for row in rows:
        print(json.dumps(row, ensure_ascii=False) if args.json else _shown(row))
    if not rows and not args.json:
        print("none")
    return 0


def _download(name: str) -> int:
    from videoadapt.errors import CheckpointError
    from videoadapt.weights.files import weights_path
    from videoadapt.weights.names import PREFIXES, split_name
    from videoadapt.weights.published import fetched

    if not name.startswith(PREFIXES):
        from videoadapt.weights.trunks import TRUNKS

        known = f"; {name} stands for {TRUNKS[name].stands_for}" if name in TRUNKS else ""
        raise CheckpointError(f"--download {name}: only a name that begins with hf:, timm: or https: downloads{known}")
    pinned = split_name(fetched(name))[0]
    print(f"{pinned}\n{weights_path(pinned)}")
    return 0


def _rows(here: bool) -> list[dict[str, Any]]:
    """A row for each trunk of the table, then for what else is on this machine."""
    from videoadapt.weights.names import all_downloads, downloaded, remembered
    from videoadapt.weights.trunks import TRUNKS

    rows, shown = [], set()
    for name, trunk in TRUNKS.items():
        known = remembered(trunk.stands_for)
        found = downloaded(known) if known else None
        shown.add(known)
        if found or not here:
            about = {key: value or None for key, value in trunk._asdict().items()}
            rows.append({"name": name, **about, "here": _as_dict(found)})
    if here:
        nothing = dict.fromkeys(("backbone", "parameters_m", "trained_on", "licence", "accuracy"))
        rows += [
            {"name": found.name, "stands_for": found.name, **nothing, "licence": found.licence, "here": _as_dict(found)}
            for found in all_downloads()
            if found.name not in shown
        ]
    return rows


def _as_dict(found: "Download | None") -> dict[str, Any] | None:
    if found is None:
        return None
    sha256 = {file: sha256 for file, (_, sha256) in found.files.items()}
    size = sum(size for size, _ in found.files.values())
    return {"name": found.name, "path": found.path, "bytes": size, "sha256": sha256, "date": found.date}


def _texts(row: dict[str, Any]) -> list[str]:
    return [str(value) for key, value in row.items() if value is not None and key != "here"]


def _shown(row: dict[str, Any]) -> str:
    parameters = f"{row['parameters_m']} M" if row["parameters_m"] else ""
    lines = [f"{row['name']:23} {parameters:>6}  {row['licence'] or 'licence: see its page'}"]
    lines += [f"  {row['stands_for']}   model.backbone={row['backbone']}"] if row["backbone"] else []
    lines += [f"  {row[key]}" for key in ("trained_on", "accuracy") if row[key]]
    if found := row["here"]:
        lines.append(
            f"  here since {found['date'][:10]}, {found['bytes'] / 1e6:,.0f} MB: {found['name']}, {found['path']}"
        )
    return "\n".join(lines)
