"""Tars of samples as a list: what webdataset's own reader finds in them, and one line for what is wrong."""

import json
import logging
import re
from pathlib import Path

import pytest

from tests.media import write_video
from tests.shards import write_shard
from videoadapt import logger
from videoadapt.config.loading import load_config
from videoadapt.data.datasets.webdataset import WebDataset, expanded
from videoadapt.data.file_identity import find_files
from videoadapt.data.splits import Splits
from videoadapt.errors import ConfigError, DataListError
from videoadapt.runs.lists import load_splits
from videoadapt.video.decoders import open_video

TWO = {
    "0.mp4": b"one",
    "0.cls": b"3",
    "a/b.c.avi": b"no label in this one's way",
    "1.cls": b" 4\n",
    "1.txt": b"x",
    "1.MKV": b"two",
}


def load(root: Path, source: str, **arguments: object) -> list[tuple[str, int]]:
    return [(video.name, video.label) for video in WebDataset(**arguments).load(source, root)]  # type: ignore[arg-type]


def test_samples_of_tars_in_their_order(tmp_path: Path) -> None:
    write_shard(tmp_path / "b.tar", TWO)
    write_shard(tmp_path / "a.tar", {"x/0.json": b'{"class": 7, "more": [1]}', "x/0.webm": b"three", "__key__": b"-"})
    assert load(tmp_path, "b.tar") == [("b.tar/0.mp4", 3), ("b.tar/1.MKV", 4)]
    assert load(tmp_path, "a.tar", label="json", label_key="class") == [("a.tar/x/0.webm", 7)]
    assert load(tmp_path, "{b,b}.tar") == load(tmp_path, "b.tar")
    assert load(tmp_path, str(tmp_path / "b.tar"))[0] == (f"{tmp_path}/b.tar/0.mp4", 3)
    videos = WebDataset().load("b.tar", tmp_path)
    assert videos[1].path == tmp_path / "b.tar" / "1.MKV" and videos[1].line == 2
    assert find_files(videos)["size"].tolist() == [3, 3] and len({row.tobytes() for row in find_files(videos)}) == 2
    before = Splits.files_fingerprint(videos)
    write_shard(tmp_path / "b.tar", TWO | {"0.mp4": b"One"})
    assert Splits.files_fingerprint(videos) != before


def test_names_of_tars(tmp_path: Path) -> None:
    for name in ("t-3.tar", "t-10.tar", "u-1.tar"):
        write_shard(tmp_path / name, TWO)
    assert expanded("t-{008..011}.tar", tmp_path) == ["t-008.tar", "t-009.tar", "t-010.tar", "t-011.tar"]
    assert expanded("{a,b}/t-{9..10}.tar", tmp_path) == ["a/t-9.tar", "a/t-10.tar", "b/t-9.tar", "b/t-10.tar"]
    assert expanded("t-*.tar", tmp_path) == ["t-10.tar", "t-3.tar"] and expanded("?-1.tar", tmp_path) == ["u-1.tar"]
    for source, said in (
        ("v*.tar", "no tar below"),
        ("t.tar.gz", "no name of an uncompressed"),
        ("list.csv", "list.csv is no name"),
    ):
        with pytest.raises(DataListError, match=said):
            expanded(source, tmp_path)


@pytest.mark.parametrize(
    ("members", "arguments", "said"),
    [
        ({"a.mp4": b"x"}, {}, "sample 'a' has no label a.cls (it has mp4)"),
        ({"a.cls": b"0", "a.jpg": b"x"}, {}, "sample 'a' has no videos (it has cls, jpg)"),
        ({"a.cls": b"0", "a.mp4": b"x", "a.avi": b"x"}, {}, "sample 'a' has 2 videos"),
        ({"a.cls": b"run", "a.mp4": b"x"}, {}, "a.cls: label = 'run': expected a whole number"),
        ({"a.cls": b"-1", "a.mp4": b"x"}, {}, "a.cls: label = '-1': expected a whole number"),
        ({"a.json": b"{", "a.mp4": b"x"}, {"label": "json"}, "a.json: is no JSON"),
        ({"a.json": b'{"cls": 1}', "a.mp4": b"x"}, {"label": "json"}, "a.json: has no 'label' (it has cls)"),
        ({"a.json": b'{"label": true}', "a.mp4": b"x"}, {"label": "json"}, "label = True: expected a whole number"),
        ({"a.jpg": b"x", "b.txt": b"x"}, {}, "its tars hold no samples; expected key.mp4 and key.cls"),
    ],
)
def test_a_sample_that_is_none_is_named(tmp_path: Path, members: dict, arguments: dict, said: str) -> None:
    write_shard(tmp_path / "t.tar", members)
    with pytest.raises(DataListError, match=re.escape(said)) as error:
        load(tmp_path, "t.tar", **arguments)
    assert "\n" not in str(error.value)


def splits(root: Path, *overrides: str) -> Splits:
    given = [f"data.root={root}", "data.classes=5", "data.dataset={name: webdataset}", *overrides]
    return load_splits(load_config("hmdb51_adapt", given))


def test_tars_are_checked_as_lists_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    write_shard(tmp_path / "a.tar", TWO)
    write_shard(tmp_path / "b.tar", {"5.cls": b"5", "5.mp4": b"six"})
    write_shard(tmp_path / "c.tar", {"8.cls": b"3", "8.mp4": b"one"})
    with pytest.raises(DataListError, match=r"1 label is outside 0..4 .* first 5 of 'b\.tar/5\.mp4'"):
        splits(tmp_path, "data.train=a.tar", "data.test=b.tar")
    with pytest.raises(DataListError, match=r"^data\.test = .*d\.tar: No such file or directory\n"):
        splits(tmp_path, "data.train=a.tar", "data.test=d.tar")
    with caplog.at_level(logging.WARNING):
        splits(tmp_path, "data.train=a.tar", "data.test=c.tar")
    assert "1 file seems to be a copy under another name, first c.tar/8.mp4" in caplog.text
    caplog.clear()
    (tmp_path / "link.tar").symlink_to(tmp_path / "a.tar")
    with caplog.at_level(logging.WARNING):
        splits(tmp_path, "data.train=a.tar", "data.test=link.tar")
    assert "data.train and data.test share 2 videos" in caplog.text
    with pytest.raises(ConfigError, match=r"data\.columns = .*'webdataset' reads no columns"):
        splits(tmp_path, "data.train=a.tar", "data.columns=[path, label]")


def test_paths_into_tars_stand_in_lists_too(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", {"x/0.mp4": b"one", "1.mp4": b"two"})
    (tmp_path / "list.csv").write_text("a.tar/x/0.mp4 1\na.tar/1.mp4 0\na.tar/2.mp4 0\n")
    given = ["data.dataset={name: video_list}", f"data.train={tmp_path}/list.csv", "test.enable=false"]
    with pytest.raises(DataListError, match=r"1 of the 3 videos .*a\.tar/2\.mp4 \(line 3\): a\.tar has no such member"):
        splits(tmp_path, *given)
    assert len(splits(tmp_path, *given, "data.max_unreadable=0.5").train) == 3


def test_what_the_library_writes_and_reads(tmp_path: Path) -> None:
    """Shards by its ShardWriter; its reader and ours find the same samples in the same order."""
    library = pytest.importorskip("webdataset")
    film = write_video(tmp_path / "film.mp4").read_bytes()
    with library.ShardWriter(str(tmp_path / "train-%06d.tar"), maxcount=3, verbose=0) as writer:
        for number in range(8):
            sample = {"__key__": f"clips/{number:04d}", "cls": number % 5, "json": {"label": number}, "mp4": film}
            writer.write(sample)
    source = "train-{000000..000002}.tar"
    theirs = library.WebDataset(str(tmp_path / source), shardshuffle=False, empty_check=False)
    expected = [(Path(sample["__url__"]).name, sample["__key__"], sample) for sample in theirs]
    assert load(tmp_path, source) == [(f"{url}/{key}.mp4", int(sample["cls"])) for url, key, sample in expected]
    labels = [json.loads(sample["json"])["label"] for *_, sample in expected]
    assert [label for _, label in load(tmp_path, source, label="json")] == labels == list(range(8))
    with (
        open_video(tmp_path / "train-000002.tar" / "clips" / "0007.mp4") as member,
        open_video(tmp_path / "film.mp4") as file,
    ):
        assert (member[:] == file[:]).all()
