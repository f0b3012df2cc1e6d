"""A folder for others: an adapter, a page that says what it is made of and how to load it, and a picture."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videoadapt.errors import CheckpointError, counted
from videoadapt.evaluation.predictions import shown_measures
from videoadapt.files import write_text
from videoadapt.paths import is_file
from videoadapt.runs.adapter_content import AdapterFile
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.folder import facts_of
from videoadapt.runs.records import read_record
from videoadapt.runs.shapes import Results
from videoadapt.weights.names import HubName

ADAPTER, PAGE, PREVIEW = "adapter.safetensors", "README.md", "preview.png"
_PICTURES = ("confusion.png", "average_precision.png", "curves.png")  # of a run, the preferred one first
_NOTHING = hashlib.sha256().hexdigest()  # the fingerprint of no list
_SCORES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class", "mAP": "mAP", "micro_f1": "micro F1"}


def write_adapter_folder(run: Path, out: Path, name: HubName, licence: str = "") -> list[str]:
    """Write adapter, page and picture of a finished run into `out`; return the names of the files.

    `name` is where it will be published; without a licence the page's field is there to be filled in. No path, list or name
    of a video of the run is in any of them. Raises CheckpointError without an adapter.
    """
    adapter = read_adapter(run / ADAPTER)
    results = read_record(run / "results.json", Results, "delete it, and test the run again") or {}
    picture = next((run / file for file in _PICTURES if is_file(run / file)), None)
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() == run.resolve():
        raise CheckpointError(f"{out}: is the run's own folder; choose another one")
    page = _page(adapter, results, _lists(run), name, licence, picture)
    if is_file(out / PAGE) and (out / PAGE).read_bytes() != page.encode():
        raise CheckpointError(f"{out / PAGE}: is there, with another text; move it away, or choose another folder")
    shutil.copyfile(run / ADAPTER, out / ADAPTER)
    if picture is not None:
        shutil.copyfile(picture, out / PREVIEW)
    write_text(out / PAGE, page)
    return [ADAPTER, PAGE, *([PREVIEW] if picture else [])]


def _lists(run: Path) -> dict[str, str]:
    """The fingerprints of the lists that the run trained and validated on."""
    found = facts_of(run).get("config", {}).get("lists", {})
    return {split: sha256 for split, sha256 in found.items() if sha256 != _NOTHING}


def _page(
    adapter: AdapterFile,
    results: Mapping[str, Any],
    lists: Mapping[str, str],
    name: HubName,
    licence: str,
    picture: Path | None,
) -> str:
    weights = adapter.config.model.weights
    base = HubName.read(weights).repo if weights and weights.startswith("hf:") else ""
    given = f', weights="{weights}"' if base else "" if weights else ', weights="FILE OF THE BACKBONE"'
    option = f" --weights {weights}" if base else "" if weights else " --weights FILE"
    head = [
        "---",
        f"license: {licence}" if licence else "# license: to be filled in; that of the backbone may bind you",
    ]
    head += [f"base_model: {base}"] if base else []
    head += ["library_name: videoadapt", "pipeline_tag: video-classification", "tags: [videoadapt, adapter]", "---"]
    parts = ["\n".join(head), f"# {name.repo.partition('/')[2]}", _what(adapter, results, weights)]
    parts += [f"![{picture.stem.replace('_', ' ')} of the run]({PREVIEW})"] if picture else []
    code = f'import videoadapt as va\n\nmodel = va.load("{name}"{given})\nprint(model.predict("video.mp4"))'
    parts += [
        "## Load it",
        f"```python\n{code}\n```",
        f"```bash\nvideoadapt demo video.mp4 --adapter {name}{option}\n```",
    ]
    parts += ["## Numbers", _numbers(results), "## Made of", _made_of(adapter, results, lists)]
    parts += [f"## {len(adapter.class_names)} classes", "\n".join(["```text", *adapter.class_names, "```"])]
    return "\n\n".join(parts) + "\n"


def _what(adapter: AdapterFile, results: Mapping[str, Any], weights: str | None) -> str:
    methods = " and ".join(method["name"] for method in _methods(adapter))
    trained = f" with {results['trained_parameters']:,} trained parameters" if "trained_parameters" in results else ""
    named = f" with the weights `{weights}`" if weights else ""
    return (
        f"An adapter ({methods}){trained} for videos of {len(adapter.class_names)} classes, on a frozen "
        f"`{adapter.config.model.backbone['name']}`{named}; made with videoadapt."
    )


def _methods(adapter: AdapterFile) -> list[dict[str, Any]]:
    found = adapter.config.model.adapter
    return found if isinstance(found, list) else [found]


def _numbers(results: Mapping[str, Any]) -> str:
    if not results:
        return "The run was not tested."
    found = {key: results[key] for key in shown_measures(results) if results[key] is not None}
    rows = [f"| {said} | {found[key]:.2f} % |" for key, said in _SCORES.items() if key in found]
    tested = f"{counted(results['num_videos'], 'test video')}, {counted(results['num_views'], 'view')} of each"
    if results.get("num_unreadable"):
        tested += f"; {results['num_unreadable']} could not be read and count as wrong"
    return "\n".join(["| measure | value |", "| --- | --- |", *rows, "", f"{tested}."])


def _made_of(adapter: AdapterFile, results: Mapping[str, Any], lists: Mapping[str, str]) -> str:
    data = adapter.config.data
    rows = {f"{split} list, sha256": sha256 for split, sha256 in lists.items()}
    rows |= {
        f"test {key}, sha256": sha256 for key in ("list", "files") if (sha256 := results.get(f"test_{key}_sha256"))
    }
    rows |= {"frozen tensors, sha256": adapter.backbone, "backbone": _given(adapter.config.model.backbone)}
    rows |= {"adapter": "; ".join(_given(method) for method in _methods(adapter))}
    rows |= {"frames": f"{data.num_frames}, {_given(data.sampling)}", "pixels": str(data.crop_px)}
    return "\n".join(["| what | value |", "| --- | --- |", *(f"| {key} | `{value}` |" for key, value in rows.items())])


def _given(component: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in component.items() if value is not None)
