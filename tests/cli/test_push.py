"""`videoadapt push`: what others get of a run, that it names nothing private, and that they can load it."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants

import videoadapt as va
from tests.hub_server import Hub, point_at, serving
from tests.toy_runs import results, toy_config, write_config
from tests.weight_files import trunk
from videoadapt.cli import demo, push, train
from videoadapt.errors import CheckpointError

TRUNK, NAME = "anna/trunk", "bea/motions"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own; the hub takes both
    monkeypatch.setenv("HF_TOKEN", "hf_allowed")
    with serving() as hub:
        point_at(hub, tmp_path, monkeypatch)
        monkeypatch.setenv("HF_TOKEN", "hf_allowed")
        hub.add(TRUNK, {"model.safetensors": trunk(tmp_path / "w.safetensors").read_bytes()}, card={"license": "mit"})
        yield hub


@pytest.mark.slow
def test_a_pushed_adapter_is_loaded_by_its_name(
    hub: Hub, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "secret_place"
    config = toy_config(folder, clips, model={"weights": f"hf:{TRUNK}"}, train={"epochs": 1})
    assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    pinned = f"hf:{TRUNK}@{hub.repositories[TRUNK].revisions['main']}"

    page = tmp_path / "page"
    assert push.main([str(folder), f"hf:{NAME}", "--out", str(page)]) == 0
    assert sorted(path.name for path in page.iterdir()) == ["README.md", "adapter.safetensors", "preview.png"]
    text = (page / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["base_model"] == TRUNK and "license" not in head and "# license: to be filled in" in text
    found = results(folder)
    for said in (f"{found['top1']:.2f} %", found["test_list_sha256"], found["statement"]["backbone"], pinned):
        assert said in text
    assert "train list, sha256" in text and "val list" not in text and "preview.png" in text
    assert not [path for path in clips.rglob("*.mp4") if path.stem in text]
    assert "secret_place" not in text and str(clips) not in text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert f'va.load("hf:{NAME}", weights="{pinned}")' in code
    assert push.main([str(folder), f"hf:{NAME}", "--out", str(folder)]) == 2
    assert push.main([str(folder), f"hf:{NAME}", "--out", str(page)]) == 0  # the same again
    (page / "README.md").write_text("one's own")
    (page / "adapter.safetensors").unlink()
    assert push.main([str(folder), f"hf:{NAME}", "--out", str(page)]) == 2
    assert f"{page / 'README.md'}: is there, with another text" in capsys.readouterr().err
    assert [path.name for path in page.glob("[Ra]*")] == ["README.md"] and (
        page / "README.md"
    ).read_text() == "one's own"

    capsys.readouterr()
    assert push.main([str(folder), f"hf:{NAME}", "--license", "mit", "--private"]) == 0
    repo, said = hub.repositories[NAME], capsys.readouterr().out
    assert said.startswith(f"hf:{NAME}@{repo.revisions['main']}: adapter.safetensors") and repo.private
    assert repo.files["adapter.safetensors"] == (folder / "adapter.safetensors").read_bytes()
    assert b"license: mit" in repo.files["README.md"]

    video = next(clips.rglob("*.mp4"))
    here = va.load(folder, device="cpu").logits(video)
    assert torch.equal(va.load(f"hf:{NAME}", weights=pinned, device="cpu").logits(video), here)
    assert torch.equal(va.load(f"hf:{NAME}", device="cpu").logits(video), here)  # the backbone is on this machine
    capsys.readouterr()
    assert demo.main([str(video), "--adapter", f"hf:{NAME}", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["adapter"] == f"hf:{NAME}"

    monkeypatch.delenv("HF_TOKEN")
    assert push.main([str(folder), f"hf:{NAME}"]) == 2
    assert f"error: hf:{NAME}: uploading needs a login" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert push.main([str(folder), f"hf:{NAME}"]) == 2
    assert "the hub answers 401 Unauthorized; log in with" in capsys.readouterr().err


def test_what_is_no_adapter_is_named(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert push.main([str(tmp_path), f"hf:{NAME}"]) == 2
    assert "there is no such adapter file" in capsys.readouterr().err
    assert push.main([str(tmp_path), "bea/motions"]) == 2
    assert "expected hf:OWNER/NAME" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="there is no such adapter file"):
        va.load(f"hf:{TRUNK}", device="cpu")  # holds a backbone


def test_a_damaged_results_file_is_named(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    for damaged in ("{", "[]", "3"):
        (run / "results.json").write_text(damaged)
        capsys.readouterr()
        assert push.main([str(run), f"hf:{NAME}", "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == f"error: {run}/results.json: is damaged; delete it, and test the run again\n"
