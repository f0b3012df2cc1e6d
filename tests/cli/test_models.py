"""`videoadapt models`: the table of short names, and that such a name downloads nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

from tests.hub_server import Hub, point_at, serving
from tests.weight_files import DATA
from videoadapt.cli import models
from videoadapt.config.loading import check_config
from videoadapt.config.overrides import parse_overrides
from videoadapt.errors import CheckpointError
from videoadapt.registry import BACKBONES
from videoadapt.weights.names import HubName, is_name
from videoadapt.weights.normalisation import Normalisation
from videoadapt.weights.published import fetched, pinned
from videoadapt.weights.published._timm import hub_name
from videoadapt.weights.trunks import TRUNKS

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "pytorch_model.bin": (DATA / "vpt_deep.pth").read_bytes(),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as hub:
        point_at(hub, tmp_path, monkeypatch)
        hub.add("MCG-NJU/videomae-base", FILES, card={"license": "cc-by-nc-4.0"})
        yield hub


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert models.main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", TRUNKS)
def test_every_trunk_has_its_backbone_and_its_size(name: str) -> None:
    trunk = TRUNKS[name]
    spec = check_config({"output": "x", **parse_overrides([f"model.backbone={trunk.backbone}"])}).model.backbone
    with torch.device("meta"):
        backbone = BACKBONES.build(spec)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert round(count / 1e6) == trunk.parameters_m
    if trunk.stands_for.startswith("timm:"):
        assert timm.is_model(spec["model"]) and trunk.stands_for.startswith(f"timm:{spec['model']}.")
        assert hub_name(trunk.stands_for)[0].repo.startswith("timm/")
        trained = timm.get_pretrained_cfg(trunk.stands_for.removeprefix("timm:"))
        assert backbone.normalisation.is_like(Normalisation(trained.mean, trained.std))
    else:
        assert HubName.read(trunk.stands_for).revision is None
    assert not trunk.accuracy or "arXiv" in trunk.accuracy or "card" in trunk.accuracy


def test_a_short_name_says_what_it_stands_for(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError) as caught:
        pinned("videomae-base")
    said = str(caught.value)
    assert said.startswith("videomae-base: stands for hf:MCG-NJU/videomae-base (CC BY-NC 4.0)") and not hub.requests
    there = fetched("hf:MCG-NJU/videomae-base")
    hub.requests.clear()
    assert pinned("videomae-base") == there and fetched("videomae-base#model") == f"{there}#model"
    assert not hub.requests
    repo = hub.repositories["MCG-NJU/videomae-base"]
    repo.files["config.json"] = b"{ }"
    repo.commit()
    newer = fetched("hf:MCG-NJU/videomae-base")
    assert newer != there and pinned("videomae-base") == newer and pinned("videomae-base", before=there) == there
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videomae-base").mkdir()
    assert not is_name("videomae-base")  # a folder of that name is meant


def test_the_table_is_filtered_and_says_what_is_here(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in listed(capsys)] == list(TRUNKS)
    assert [row["name"] for row in listed(capsys, "dinov2", "APACHE")] == [
        "dinov2-small",
        "dinov2-base",
        "dinov2-large",
    ]
    assert listed(capsys, "clip-base-laion")[0]["accuracy"] is None  # blank, not invented
    assert listed(capsys, "--here") == []
    assert models.main(["--download", "hf:MCG-NJU/videomae-base"]) == 0
    name, place = capsys.readouterr().out.splitlines()
    hub.add("anna/other", FILES)
    fetched("hf:anna/other")
    first, second = listed(capsys, "--here")
    assert first["name"] == "videomae-base" and first["here"] == {
        **first["here"], "name": name, "path": place, "bytes": 9, "sha256": first["here"]["sha256"],
    }  # fmt: skip
    assert second["name"].startswith("hf:anna/other@") and second["licence"] == "unknown: its page names none"
    assert models.main(["videomae"]) == 0
    shown = capsys.readouterr().out
    assert "model.backbone={name: vit, size: base}" in shown and "here since" in shown and place in shown


def test_only_an_explicit_name_downloads(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert models.main(["--download", "videomae-base"]) == 2
    assert "stands for hf:MCG-NJU/videomae-base" in capsys.readouterr().err and not hub.requests
