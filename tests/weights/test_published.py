"""Weights by name, from a server on this machine that speaks the hub's protocol: right bytes, or one clear line."""

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, hf_hub_download

from tests.hub_server import LOGIN_PAGE, Hub, point_at, serving, sha256_hex
from tests.weight_files import DATA
from videoadapt.errors import CheckpointError
from videoadapt.weights import names
from videoadapt.weights.files import weights_path
from videoadapt.weights.formats import read_weights
from videoadapt.weights.names import HubName, downloaded, here
from videoadapt.weights.published import _hub, _web, fetch, fetched, pinned

NAME = "anna/videomae-small"
WEIGHTS = (DATA / "videomae_pretrain.pth").read_bytes()
FILES = {"config.json": b'{"model_type": "videomae"}', "pytorch_model.bin": WEIGHTS, "README.md": b"# Model"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(_web, "WAIT_SEC", 0.01)
    with serving() as hub:
        point_at(hub, tmp_path, monkeypatch)
        hub.add(NAME, FILES, card={"license": "cc-by-nc-4.0"})
        yield hub


def refused(location: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        fetched(location)
    said = str(caught.value)
    asked = re.match(r"hf:[^/]+/[^/@]+|[^#]+", location)
    assert asked and said.startswith(asked[0]) and "\n" not in said
    return said


def partials(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.incomplete") if path.is_file()]


def test_a_name_is_pinned_downloaded_and_read(hub: Hub, log_lines: list[str]) -> None:
    sha = hub.repositories[NAME].revisions["main"]
    location = fetched(f"hf:{NAME}")
    assert location == f"hf:{NAME}@{sha}"
    assert [line for line in log_lines if "licence cc-by-nc-4.0" in line and "0.5 MB" in line]
    found = read_weights(location)
    assert found.format.endswith("VideoMAE pre-training") and weights_path(location).name == sha
    ours = read_weights(str(DATA / "videomae_pretrain.pth")).tensors
    assert found.tensors.keys() == ours.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in ours.items())
    record = downloaded(location)
    assert record and record.files["pytorch_model.bin"] == (len(WEIGHTS), sha256_hex(WEIGHTS))
    assert "README.md" not in record.files  # nothing but what is read


def test_what_is_here_asks_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    location = fetched(f"hf:{NAME}")
    hub.requests.clear()
    assert fetched(location) == location and not hub.requests
    hub.repositories[NAME].files["new"] = b"later"
    newer = hub.repositories[NAME].commit()
    assert pinned(f"hf:{NAME}", before=location) == location and not hub.requests
    assert pinned(f"hf:{NAME}/config.json", before=location) != location  # another file is another name
    assert pinned(f"hf:{NAME}") == f"hf:{NAME}@{newer}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetched(f"hf:{NAME}") == location  # the newest that is here
    assert "is not on this machine, and HF_HUB_OFFLINE is set" in refused("hf:anna/other")


def test_another_programs_download_serves_offline(hub: Hub, log_lines: list[str]) -> None:
    hf_hub_download(NAME, "pytorch_model.bin")
    place = Path(hf_hub_download(NAME, "config.json")).parent
    hub.faults.status["/api/models/anna/videomae-small"] = 503
    hub.faults.status[place.name] = 503
    location = fetched(f"hf:{NAME}")
    assert location == f"hf:{NAME}@{place.name}" and weights_path(location) == place
    assert any("taken from this machine" in line for line in log_lines)
    (place / "config.json").unlink()  # only partly here: what it says of the model would be missing
    assert "the hub answers 503" in refused(location)


def test_another_programs_damaged_index_is_a_line(hub: Hub) -> None:
    hub.add("bea/large", {"model.safetensors.index.json": b"{", "config.json": b"{}"})
    place = Path(hf_hub_download("bea/large", "model.safetensors.index.json")).parent
    hf_hub_download("bea/large", "config.json")
    hub.faults.status["/api/models/bea/large"] = 503
    hub.faults.status[place.name] = 503
    assert "its model.safetensors.index.json holds no `weight_map`" in refused("hf:bea/large")


def test_a_file_of_a_repository_and_a_part_of_it(hub: Hub) -> None:
    hub.add("bea/many", {"small/a.pth": WEIGHTS, "small/b.pth": b"x", "README.md": b""})
    location = fetched("hf:bea/many/small/a.pth#model")
    assert location.endswith("/small/a.pth#model") and "bea/many@" in location
    assert read_weights(location).tensors and weights_path(location).name == "a.pth"
    said = refused("hf:bea/many")
    assert "holds none of model.safetensors" in said and "hf:bea/many/small/a.pth" in said
    assert "holds no such file" in refused("hf:bea/many/small/c.pth")


def test_shards_come_with_their_index(hub: Hub) -> None:
    index = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    files = {"model.safetensors.index.json": index, "model-1.safetensors": b"one", "model-2.safetensors": b"two"}
    repo = hub.add("bea/large", files)
    record = downloaded(fetched("hf:bea/large"))
    assert record and set(record.files) == set(files)
    del repo.files["model-2.safetensors"]
    repo.commit()
    assert "names model-2.safetensors, which the repository does not hold" in refused("hf:bea/large")


def test_licences_are_said_as_the_card_says(hub: Hub, log_lines: list[str]) -> None:
    hub.add("bea/none", FILES)
    hub.add("bea/own", FILES, card={"license": "other", "license_name": "dinov3", "license_link": "LICENSE.md"})
    fetched("hf:bea/none"), fetched("hf:bea/own")
    said = "\n".join(log_lines)
    assert "licence unknown: its page names none" in said and "licence dinov3 (LICENSE.md)" in said


def test_broken_connections_go_on_where_they_were(hub: Hub) -> None:
    hub.faults.drop_after["pytorch_model.bin"] = [100_000, 50_000]
    fetched(f"hf:{NAME}")
    ranges = [asked for method, path, asked in hub.requests if path.startswith("/cdn") and method == "GET"]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert hub.sent == len(WEIGHTS) + len(FILES["config.json"])


def test_a_broken_download_is_taken_up_later(hub: Hub, tmp_path: Path) -> None:
    hub.faults.drop_after["pytorch_model.bin"] = [200_000, 0, 0, 0, 0]
    said = refused(f"hf:{NAME}")
    assert "broke off at 0.2 MB" in said and "goes on from there" in said
    assert [path.stat().st_size for path in partials(tmp_path)] == [200_000]
    hub.faults.drop_after.clear()
    hub.sent = 0
    fetched(f"hf:{NAME}")
    assert hub.sent == len(WEIGHTS) - 200_000 and not partials(tmp_path)


def test_a_server_without_ranges_sends_all_again(hub: Hub) -> None:
    hub.faults.drop_after["pytorch_model.bin"], hub.faults.ignores_range = [100_000], True
    location = fetched(f"hf:{NAME}")
    record = downloaded(location)
    assert record and record.changed_file() is None and hub.sent >= len(WEIGHTS) + 100_000


def test_silence_ends_in_a_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.stall_after["pytorch_model.bin"] = 1000
    with monkeypatch.context() as patched:
        patched.setattr(_web, "TIMEOUT_SEC", 0.5)
        said = refused(f"hf:{NAME}")
    assert "broke off" in said and "timed out" in said
    hub.faults.stall_after.clear()
    fetched(f"hf:{NAME}")


@pytest.mark.parametrize("fault", ["same size", "longer", "page"])
def test_wrong_bytes_never_arrive(hub: Hub, tmp_path: Path, fault: str) -> None:
    other = {"same size": b"x" * len(WEIGHTS), "longer": WEIGHTS + b"x", "page": LOGIN_PAGE}[fault]
    hub.faults.other_bytes["pytorch_model.bin"] = other
    said = refused(f"hf:{NAME}")
    assert f"has sha256 {sha256_hex(other)}, not {sha256_hex(WEIGHTS)}" in said and "deleted" in said
    assert not partials(tmp_path) and not list(tmp_path.rglob("pytorch_model.bin"))
    hub.faults.other_bytes.clear()
    fetched(f"hf:{NAME}")


def test_a_small_file_is_compared_as_git_does(hub: Hub) -> None:
    hub.faults.other_bytes = {"config.json": b'{"model_type": "videomaf"}'}
    assert "what is in the cache has checksum" in refused(f"hf:{NAME}")
    hub.faults.other_bytes.clear()
    fetched(f"hf:{NAME}")


def test_a_login_page_in_place_of_the_hub(hub: Hub) -> None:
    hub.faults.page.add(NAME)
    assert "is not the hub: a login page of the network, or a wrong HF_ENDPOINT?" in refused(f"hf:{NAME}")
    hub.faults.page = {"config.json"}
    assert "cannot be reached" in refused(f"hf:{NAME}")
    hub.faults.page = {"pytorch_model.bin"}
    assert "is not the hub: a login page" in refused(f"hf:{NAME}")


def test_repositories_that_are_not_given(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such repository" in refused("hf:anna/nothing") and "hf auth login" in refused("hf:anna/nothing")
    assert "has no revision v9" in refused(f"hf:{NAME}@v9")
    hub.add("anna/gated", FILES, gated=True)
    assert f"is gated: accept its terms at {hub.url}/anna/gated" in refused("hf:anna/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_allowed")
    fetched("hf:anna/gated")  # and the token went to the hub alone, or the server would not have given the file
    hub.faults.status[NAME] = 403
    assert "the hub answers 403" in refused(f"hf:{NAME}")
    hub.faults.status[NAME] = 500
    assert "the hub answers 500" in refused(f"hf:{NAME}") and "try again later" in refused(f"hf:{NAME}")
    assert "expected hf:OWNER/NAME" in refused("hf:nobody") and "expected" in refused("hf:a/b/../../c")


def test_nobody_there_and_nobody_answering(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "TIMEOUT_SEC", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "did not answer within 0.5 s" in refused(f"hf:{NAME}")
    assert "cannot be reached" in refused(f"hf:{NAME}")


def test_a_full_disk_is_said_at_the_start(hub: Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(small_disk))
    hub.add("bea/big", {"model.safetensors": bytes(2_000_000)})
    assert "needs 2.0 MB" in refused("hf:bea/big") and "are free" in refused("hf:bea/big")
    assert not partials(small_disk)


def test_a_file_that_changed_later_is_refused(hub: Hub) -> None:
    location = fetched(f"hf:{NAME}")
    path = weights_path(location) / "pytorch_model.bin"
    with path.open("r+b") as file:
        file.write(b"xx")
    os.utime(path, (1, 1))  # the download may have been in the same tick of the file system's clock
    assert f"{path} has changed since it was downloaded" in refused(location)
    path.unlink()
    with pytest.raises(CheckpointError, match="it was deleted: run again"):
        fetch(location)  # what the link led to was the changed file
    fetch(location)
    assert path.read_bytes() == WEIGHTS


def test_a_whole_file_is_not_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    """A process was killed while it looked at what had come: all of it came once more."""
    location = f"{hub.url}/cdn/{sha256_hex(WEIGHTS)}/weights.pth#sha256={sha256_hex(WEIGHTS)}"
    path = Path(here(fetched(location)))
    path.rename(path.with_name(f"{path.name}.videoadapt.incomplete"))
    hub.sent = 0
    fetched(location)
    assert path.read_bytes() == WEIGHTS and not hub.sent and not partials(tmp_path)


def test_wrong_bytes_that_another_deletes_are_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.other_bytes = {"config.json": b'{"model_type": "videomaf"}'}
    look = _hub._git_sha

    def deleted(path: Path) -> str:
        found = look(path)
        path.resolve().unlink()  # as a second download does, which looked at the same time
        return found

    monkeypatch.setattr(_hub, "_git_sha", deleted)
    assert "what is in the cache has checksum" in refused(f"hf:{NAME}")


def test_one_of_several_downloads_and_others_wait(hub: Hub) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(fetched(f"hf:{NAME}"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert len([path for _, path, _ in hub.requests if path.startswith("/cdn")]) == 1


def test_what_two_processes_note_at_once_is_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has read the commits of a name, and not yet written its own, when the other comes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    has_read, may_write, read = threading.Event(), threading.Event(), names._stood_for

    def slowly(asked: str) -> list[str]:
        found = read(asked)
        if threading.current_thread() is first:
            has_read.set()
            may_write.wait(10)
        return found

    monkeypatch.setattr(names, "_stood_for", slowly)
    commits = [f"hf:{NAME}@{digit * 40}" for digit in "ab"]
    first, second = (threading.Thread(target=names.remember, args=(f"hf:{NAME}", commit)) for commit in commits)
    first.start()
    assert has_read.wait(10)
    second.start()
    second.join(0.5)  # it waits, and no longer than the other needs
    may_write.set()
    for thread in (first, second):
        thread.join(10)
    assert read(f"hf:{NAME}") == commits[::-1]


def test_an_address_needs_its_checksum_and_keeps_it(hub: Hub, tmp_path: Path, log_lines: list[str]) -> None:
    address = f"{hub.url}/cdn/{sha256_hex(WEIGHTS)}/weights.pth"
    assert "an address needs the sha256" in refused(address)
    assert "an address needs the sha256" in refused(f"{address}#sha256=12")
    location = f"{address}#sha256={sha256_hex(WEIGHTS)}"
    hub.faults.drop_after["weights.pth"] = [1000]
    assert fetched(location) == location and read_weights(f"{location}#model").tensors
    assert any("licence unknown" in line for line in log_lines) and hub.sent == len(WEIGHTS)
    hub.requests.clear()
    fetched(location)
    assert not hub.requests and str(weights_path(location)).startswith(str(tmp_path / "cache"))
    wrong = f"{address}#sha256={'0' * 64}"
    assert f"has sha256 {sha256_hex(WEIGHTS)}, not {'0' * 64}" in refused(wrong)
    hub.faults.page.add("weights.pth")
    assert "text/html" in refused(wrong) and "is a login needed?" in refused(wrong)
    hub.faults.page.clear()
    for status, said in ((401, "a login is needed"), (404, "there is no such file"), (503, "try again later")):
        hub.faults.status["weights.pth"] = status
        assert f"the server answers {status}" in refused(wrong) and said in refused(wrong)


def test_names_of_timm_are_those_of_its_table(hub: Hub, log_lines: list[str]) -> None:
    hub.add("timm/vit_small_patch14_dinov2.lvd142m", FILES, card={"license": "apache-2.0"})
    location = fetched("timm:vit_small_patch14_dinov2.lvd142m")
    assert location.startswith("hf:timm/vit_small_patch14_dinov2.lvd142m@")
    assert not any("normalised" in line for line in log_lines)  # with ImageNet's, as clips are
    hub.add("timm/vit_base_patch16_clip_224.openai", FILES)
    fetched("timm:vit_base_patch16_clip_224.openai")
    assert any("normalised with (0.48145466, " in line for line in log_lines)
    assert "timm:" in refused("timm:vit_small_patch14_dinov9") and "lvd142m" in refused(
        "timm:vit_small_patch14_dinov2.x"
    )


def test_a_name_without_a_download_is_no_file(hub: Hub) -> None:
    assert not weights_path(f"hf:{NAME}").exists() and not hub.requests
    assert str(HubName.read("hf:a/b@v1/c/d.bin")) == "hf:a/b@v1/c/d.bin"
