"""HMDB51, UCF101, SSv2 and Kinetics from tiny downloads in the real layouts: archives, lists, and what is not as published."""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.media import write_video
from videoadapt.cli.prepare import main
from videoadapt.errors import ConfigError, DataListError
from videoadapt.preparing import archives
from videoadapt.preparing.annotations import FILMS
from videoadapt.preparing.archives import unpack
from videoadapt.preparing.pictures import PICTURES
from videoadapt.preparing.published import OFFICIAL, Official, prepare
from videoadapt.processes.lock import only_process_in

LISTS = Path(__file__).resolve().parents[2] / "data_lists"
TWO = Official(2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real video."""
    return write_video(tmp_path_factory.mktemp("clip") / "a.avi", codec="mpeg4", num_frames=6).read_bytes()


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_rar(path: Path, files: Mapping[str, bytes], mode: int = 0o100644, flags: int = 0x8000) -> Path:
    """A rar as HMDB51's (version 4), with its files stored uncompressed: no free program makes one.

    `mode`: of Unix, for all files; of `flags` 4 says that they are encrypted.
    """

    def header(kind: int, flags: int, fields: bytes) -> bytes:
        checked = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(checked) & 0xFFFF) + checked

    parts = [b"Rar!\x1a\x07\x00", header(0x73, 0, bytes(6))]
    for name, content in files.items():
        size, crc, date, unix, stored = len(content), zlib.crc32(content), 33 << 16, 3, 0x30
        as_bytes = name.replace("/", "\\").encode()
        about = size, size, unix, crc, date, 20, stored, len(as_bytes), mode
        parts += [header(0x74, flags, struct.pack("<IIBIIBBHI", *about) + as_bytes), content]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join([*parts, header(0x7B, 0x4000, b"")]))
    return path


@pytest.fixture
def unar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but unar and its lsar."""
    for name in ("unar", "lsar"):
        found = shutil.which(name)
        if not found:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def write_zip(path: Path, files: Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


HMDB_SPLITS = {
    f"testTrainMulti_7030_splits/{name}_test_split{n}.txt": f"b [1] {name}.avi 2 \na {name}.avi 1 \nc_{name}.avi 0 \n"
    for name in ("wave", "clap")
    for n in (1, 2, 3)
}


@pytest.mark.parametrize("packed", [False, True])
def test_hmdb51(packed: bool, clip: bytes, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Unpacked, and as rars in a rar."""
    if packed:
        request.getfixturevalue("unar")
    source = tmp_path / "in"
    classes = {name: {f"{name}/{v}{name}.avi": clip for v in ("a ", "b [1] ", "c_")} for name in ("wave", "clap")}
    if packed:
        rars = {f"{n}.rar": write_rar(tmp_path / n, files).read_bytes() for n, files in classes.items()}
        write_rar(source / "hmdb51_org.rar", rars)
        write_rar(source / "test_train_splits.rar", {name: text.encode() for name, text in HMDB_SPLITS.items()})
    else:
        write_files(
            source, {f"hmdb51_org/{name}": content for files in classes.values() for name, content in files.items()}
        )
        write_files(source, HMDB_SPLITS)
    root, counts, different = prepare("hmdb51", source, tmp_path / "out", TWO)
    assert root == (tmp_path / "out" / "videos" if packed else source / "hmdb51_org")
    assert different == [] and set(counts.values()) == {2}
    lists = tmp_path / "out" / "lists"
    assert read(lists / "classes.txt") == ["clap", "wave"]
    assert read(lists / "train_split2.csv") == ["clap/a clap.avi 0", "wave/a wave.avi 1"]
    assert read(lists / "test_split3.csv") == ["clap/b [1] clap.avi 0", "wave/b [1] wave.avi 1"]
    assert (root / "wave" / "b [1] wave.avi").read_bytes() == clip


@pytest.mark.parametrize("there", [(), ("unrar",), ("unar",), ("lsar",)])
def test_a_rar_that_nothing_can_measure_is_refused(
    there: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rar(tmp_path / "in" / "UCF101.rar", {"a.txt": b"x"})
    for name in there:
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["ucf101", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 2
    assert "UCF101.rar: rar is listed and unpacked by lsar and unar, which are not installed" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("unar")
def test_what_is_no_rar_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(DataListError, match=r"a\.rar: is no rar that lsar can list; download it again"):
        unpack([tmp_path / "a.rar"], tmp_path / "out")


@pytest.mark.usefixtures("unar")
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt"])
def test_a_rar_that_leads_out_is_refused_as_others(name: str, tmp_path: Path) -> None:
    path = write_rar(tmp_path / "a.rar", {"a.txt": b"in", name: b"out"})
    with pytest.raises(DataListError, match=r"a\.rar: holds '.*out\.txt', which leads out of the folder"):
        unpack([path], tmp_path / "in")
    assert not list((tmp_path / "in").iterdir())


@pytest.mark.usefixtures("unar")
def test_a_damaged_rar_is_refused(tmp_path: Path) -> None:
    path = write_rar(tmp_path / "a.rar", {"a.txt": b"right"})
    path.write_bytes(path.read_bytes().replace(b"right", b"wrong"))
    with pytest.raises(DataListError, match=r"a\.rar: unar ended with exit code \d+: .*; is it downloaded in full\?"):
        unpack([path], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("unar")
def test_a_rar_with_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text("of somebody else")
    path = write_rar(tmp_path / "a.rar", {"a.txt": str(tmp_path / "elsewhere.txt").encode()}, mode=0o120777)
    with pytest.raises(DataListError, match=r"a\.rar: holds 'a\.txt', which is neither a file nor a folder"):
        unpack([path], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("unar")
def test_a_rar_with_a_password_is_one_line(tmp_path: Path) -> None:
    path = write_rar(tmp_path / "a.rar", {"a.txt": bytes(64)}, flags=0x8004)
    with pytest.raises(DataListError, match=r"a\.rar: is encrypted; unpack it yourself and name the folder"):
        unpack([path], tmp_path / "out")


ZIP_FLAGS, ZIP_METHOD = ((b"PK\3\4", 6), (b"PK\1\2", 8)), 2
UNREAD_ZIPS = {
    "password": (0, 1, "holds 'a.txt', which is encrypted; unpack it yourself"),
    "deflate64, as Windows packs more than 2 GB": (ZIP_METHOD, 9, "cannot be unpacked here: .*; unpack it yourself"),
    "a patch": (0, 1 << 5, "cannot be unpacked here: .*; unpack it yourself"),
}


@pytest.mark.parametrize("kind", UNREAD_ZIPS)
def test_a_zip_that_python_does_not_read_is_one_line(kind: str, tmp_path: Path) -> None:
    further, value, said = UNREAD_ZIPS[kind]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", b"x" * 100)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for header, at in ZIP_FLAGS:
        content[content.index(header) + at + further] |= value
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataListError, match=rf"a\.zip: {said}"):
        unpack([tmp_path / "a.zip"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["", "."])
def test_a_member_without_a_name_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    for path in (tmp_path / "a.zip", write_tar(tmp_path / "a.tar", {"a.avi": b"x", name or "./": b"x"})):
        with pytest.raises(DataListError, match=r"holds '.*', which is no name of a file|neither a file nor a folder"):
            unpack([path], tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())


def test_a_name_that_no_disk_takes_says_nothing_of_space(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"x" * 300: b"x"})
    with pytest.raises(DataListError, match=r"a\.tar: cannot be unpacked into .*: File name too long") as refused:
        unpack([path], tmp_path / "out")
    assert "free" not in str(refused.value)


UCF_SPLITS = {"ucfTrainTestlist/classInd.txt": "1 Hammering\r\n2 HammerThrow\r\n"} | {
    f"ucfTrainTestlist/{name}.txt": content
    for n in (1, 2, 3)
    for name, content in {
        f"trainlist0{n}": "HammerThrow/v_b.avi 2\r\nHammering/v_a.avi 1\r\n",
        f"testlist0{n}": "Hammering/v_c.avi\r\nHammerThrow/v_d.avi\r\n",
    }.items()
}


def test_ucf101(clip: bytes, tmp_path: Path) -> None:
    source = tmp_path / "in"
    names = ["Hammering/v_a.avi", "HammerThrow/v_b.avi", "Hammering/v_c.avi"]
    write_files(source, {f"UCF-101/{name}": clip for name in names})
    write_zip(source / "UCF101TrainTestSplits-RecognitionTask.zip", UCF_SPLITS)
    root, counts, different = prepare("ucf101", source, tmp_path / "out", TWO)
    assert root == source / "UCF-101"
    assert counts["train_split1"] == 2 and counts["test_split1"] == 1
    assert different == [f"test_split{n}: 1 of 2 videos is not there, first HammerThrow/v_d.avi" for n in (1, 2, 3)]
    lists = tmp_path / "out" / "lists"
    assert read(lists / "classes.txt") == ["Hammering", "HammerThrow"]  # the official order, not the alphabet's
    assert read(lists / "train_split1.csv") == ["Hammering/v_a.avi 0", "HammerThrow/v_b.avi 1"]
    assert read(lists / "missing.txt")[0] == "test_split1 HammerThrow/v_d.avi"


SSV2 = {
    "labels/labels.json": json.dumps({"Pushing something": "1", "Holding something": "0"}),
    "labels/train.json": json.dumps(
        [{"id": "7", "template": "Pushing [something]"}, {"id": "10", "template": "Holding [something]"}]
    ),
    "labels/validation.json": json.dumps([{"id": "8", "template": "Holding [something]"}]),
}


@pytest.mark.parametrize("packed", [True, False])
def test_ssv2(packed: bool, clip: bytes, tmp_path: Path) -> None:
    source = tmp_path / "in"
    files = {f"20bn-something-something-v2/{name}.webm": clip + name.encode() for name in ("7", "8", "10")}
    write_files(source, SSV2)
    if packed:
        whole = write_tar(tmp_path / "all.tgz", files, "w:gz").read_bytes()
        third = len(whole) // 3
        cuts = [whole[:third], whole[third : 2 * third], whole[2 * third :]]
        write_files(source, {f"20bn-something-something-v2-{n:02}": part for n, part in enumerate(cuts)})
    else:
        write_files(source, files)
    root, _, different = prepare("ssv2", source, tmp_path / "out", TWO)
    assert different == []
    assert [(root / f"{name}.webm").read_bytes() for name in ("7", "10")] == [clip + b"7", clip + b"10"]
    lists = tmp_path / "out" / "lists"
    assert read(lists / "classes.txt") == ["Holding something", "Pushing something"]
    assert read(lists / "train.csv") == ["10.webm 0", "7.webm 1"] and read(lists / "val.csv") == ["8.webm 0"]
    if packed:
        (source / "20bn-something-something-v2-01").unlink()
        with pytest.raises(DataListError, match="parts are missing between"):
            prepare("ssv2", source, tmp_path / "again", TWO)
        (source / "20bn-something-something-v2-02").unlink()
        with pytest.raises(DataListError, match="downloaded in full"):
            prepare("ssv2", source, tmp_path / "again", TWO)


HEADER = "label,youtube_id,time_start,time_end,split\n"
KINETICS = {
    "annotations/train.csv": HEADER + 'using segway,R6llTwEh07w,2,12,train\n"air, drumming",_-abc,123,133,train\n',
    "annotations/val.csv": HEADER + "using segway,gone,0,10,val\nusing segway,here,5,15,val\n",
}


@pytest.mark.parametrize("packed", [True, False])
def test_kinetics(packed: bool, clip: bytes, tmp_path: Path) -> None:
    source = tmp_path / "in"
    names = ["R6llTwEh07w_000002_000012.mp4", "_-abc_000123_000133.mp4", "here_000005_000015.mp4"]
    write_files(source, KINETICS)
    if packed:
        write_tar(source / "train" / "part_0.tar.gz", dict.fromkeys(names[:2], clip), "w:gz")
        write_tar(source / "val" / "part_0.tar.gz", {names[2]: clip}, "w:gz")
    else:
        write_files(source, {f"videos/x/{name}": clip for name in names})
    root, counts, different = prepare("kinetics", source, tmp_path / "out", TWO)
    below = "" if packed else "videos/x/"
    assert counts == {"train": 2, "val": 1}
    assert different == ["val: 1 of 2 videos is not there, first gone_000000_000010.mp4"]
    lists = tmp_path / "out" / "lists"
    assert read(lists / "classes.txt") == ["air, drumming", "using segway"]
    assert read(lists / "train.csv") == [f"{below}{names[1]} 0", f"{below}{names[0]} 1"]
    assert read(lists / "val.csv") == [f"{below}{names[2]} 1"]
    assert all((root / row.rpartition(" ")[0]).read_bytes() == clip for row in read(lists / "train.csv"))


@pytest.mark.parametrize("layout", ["in a folder", "flat", "unpacked"])
def test_replacements_of_kinetics_win(layout: str, clip: bytes, tmp_path: Path) -> None:
    """Clips that were cut short in their part, and are whole in CVDF's replacement_for_corrupted_k400.tgz."""
    source, folder = tmp_path / "in", "replacement_for_corrupted_k400"
    names = ["R6llTwEh07w_000002_000012.mp4", "_-abc_000123_000133.mp4"]
    write_files(source, KINETICS)
    if layout == "unpacked":
        write_files(
            source,
            {f"{part}/{name}": clip[: len(clip) // at] for part, at in (("a", 2), (folder, 1)) for name in names},
        )
    else:
        below = "" if layout == "flat" else f"{folder}/"
        write_tar(source / "train" / "part_0.tar.gz", dict.fromkeys(names, clip[: len(clip) // 2]), "w:gz")
        write_tar(source / "replacement" / f"{folder}.tgz", {f"{below}{name}": clip for name in names}, "w:gz")
    root, counts, _ = prepare("kinetics", source, tmp_path / "out", TWO)
    assert counts["train"] == 2
    rows = read(tmp_path / "out" / "lists" / "train.csv")
    assert [(root / row.rpartition(" ")[0]).read_bytes() == clip for row in rows] == [True, True]


def test_the_tool_says_what_is_not_as_published(
    clip: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path / "in", SSV2 | {"7.webm": clip, "8.webm": clip, "10.webm": clip})
    assert main(["ssv2", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 3
    shown = capsys.readouterr()
    for line in ("2 classes; published: 174", "classes: not the published content", "train: 2 rows; published: 168913"):
        assert f"not as published: {line}" in shown.err
    assert "2 train, 1 val" in shown.out


def test_out_lies_outside_of_the_download(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "out"):
        with pytest.raises(DataListError, match="lies in"):
            prepare("kinetics", tmp_path, out, TWO)


def test_one_at_a_time_unpacks_into_a_folder(clip: bytes, tmp_path: Path) -> None:
    """Two wrote into one half of a file: the second failed, and removed what the first had unpacked."""
    write_files(tmp_path / "in", SSV2 | {"7.webm": clip, "8.webm": clip, "10.webm": clip})
    (tmp_path / "out").mkdir()
    with only_process_in(tmp_path / "out"), pytest.raises(ConfigError, match=r"--out .*: another run is using this"):
        prepare("ssv2", tmp_path / "in", tmp_path / "out", TWO)
    prepare("ssv2", tmp_path / "in", tmp_path / "out", TWO)


def test_the_published_facts_are_those_of_the_shipped_lists() -> None:
    table = re.findall(r"^\| (\S+) \| (\d+) \| \w+ \| (\w{64}) \|$", (LISTS / "README.md").read_text(), re.M)
    rows = {name: (int(count), digest) for name, count, digest in table}
    for name, official in OFFICIAL.items():
        if name in FILMS | PICTURES:
            continue  # no list of these is shipped
        folder = "kinetics400" if name == "kinetics" else name
        assert rows[f"{folder}/classes.txt"] == (official.num_classes, official.sha256["classes"])
        for split, digest in official.sha256.items():
            if split != "classes":
                assert rows[f"{folder}/{split}.csv"] == (official.rows[split], digest)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["hmdb51", "ucf101"])
def test_the_official_splits_come_out_as_shipped(dataset: str, tmp_path: Path) -> None:
    """All rows of the shipped lists, written in the official layout, come back with the published checksums."""
    source, names = tmp_path / "in", read(LISTS / dataset / "classes.txt")
    files: dict[str, str] = {}
    for n in (1, 2, 3):
        sides = {
            s: [r.rpartition(" ")[0] for r in read(LISTS / dataset / f"{s}_split{n}.csv")] for s in ("train", "test")
        }
        files |= {f"videos/{video}": "" for side in sides.values() for video in side}
        if dataset == "ucf101":
            files[f"t/trainlist0{n}.txt"] = "".join(f"{v} {names.index(v.split('/')[0]) + 1}\n" for v in sides["train"])
            files[f"t/testlist0{n}.txt"] = "".join(f"{v}\n" for v in sides["test"])
            continue
        for name in names:
            files[f"s/{name}_test_split{n}.txt"] = "".join(
                f"{v.split('/')[1]} {mark} \n"
                for mark, side in ((1, "train"), (2, "test"))
                for v in sides[side]
                if v.startswith(f"{name}/")
            )
    if dataset == "ucf101":
        files["t/classInd.txt"] = "".join(f"{number} {name}\n" for number, name in enumerate(names, start=1))
    write_files(source, files)
    _, _, different = prepare(dataset, source, tmp_path / "out", OFFICIAL[dataset])
    assert different == []
    for path in (LISTS / dataset / "classes.txt", *(LISTS / dataset).glob("*_split?.csv")):
        assert (tmp_path / "out" / "lists" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["../out.avi", "/tmp/out.avi", "a/../../out.avi"])
def test_an_archive_does_not_write_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataListError, match="leads out of the folder"):
        unpack([write_tar(tmp_path / "a.tar", {name: b"x"})], tmp_path / "to")
    write_zip(tmp_path / "a.zip", {name: "x"})
    with pytest.raises(DataListError, match="leads out of the folder"):
        unpack([tmp_path / "a.zip"], tmp_path / "to")


def test_a_damaged_archive_is_named_and_what_is_there_is_kept(tmp_path: Path) -> None:
    noise = hashlib.shake_256(b"noise").digest(200_000)
    path = write_tar(tmp_path / "a.tar.gz", {"a": noise, "b": noise}, "w:gz")
    unpack([path], tmp_path / "to")
    before = (tmp_path / "to" / "a").stat().st_mtime_ns
    (tmp_path / "to" / "b").write_bytes(b"cut")
    unpack([path], tmp_path / "to")
    assert (tmp_path / "to" / "a").stat().st_mtime_ns == before and (tmp_path / "to" / "b").read_bytes() == noise
    damaged = bytearray(path.read_bytes())
    damaged[1000:1100] = bytes(100)
    for content in (bytes(damaged), path.read_bytes()[:150_000], gzip.compress(b"no tar"), b"", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(DataListError, match=r"a\.tar\.gz: "):
            unpack([path], tmp_path / "again")
        assert not [entry for entry in (tmp_path / "again").rglob("*") if entry.is_file()]


def bomb(path: Path, size: int) -> Path:
    """Zeros, packed."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros.avi", bytes(size))
        return path
    return write_tar(path, {"zeros.avi": bytes(size)}, "w:gz")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_archive_that_swells_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_SUSPICIOUS_BYTES", 10**6)
    path = bomb(tmp_path / name, 2 * 10**6)
    with pytest.raises(
        DataListError, match=rf"{name}: 0\.0 MB unpack to 0\.0 GB or more, \d+ times as much.*unpack it yourself"
    ):
        unpack([path], tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())
    unpack([bomb(tmp_path / name, 9 * 10**5)], tmp_path / "to")  # small enough to be a list


def test_an_end_that_goes_on_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_PADDING", 10**6)
    inside = write_tar(tmp_path / "a.tar", {"a.avi": b"x"}).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(inside + bytes(3 * 10**6)))
    with pytest.raises(DataListError, match=r"a\.tar\.gz: goes on for more than 1 MB behind its end"):
        unpack([tmp_path / "a.tar.gz"], tmp_path / "to")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.rar"])
def test_an_archive_for_which_there_is_no_room(name: str, tmp_path: Path, small_disk: Path) -> None:
    noise = {"a.avi": os.urandom(500_000), "b.avi": os.urandom(900_000)}
    path = tmp_path / name
    if name == "a.rar":
        if not shutil.which("lsar"):
            pytest.skip("lsar is not installed")
        write_rar(path, noise)
    elif name == "a.zip":
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in noise.items():
                archive.writestr(member, content)
    else:
        write_tar(path, noise, "w:gz")
    with pytest.raises(
        DataListError, match=r"cannot be unpacked into .*: 0\.001 GB are to be written, 0\.0\d\d GB are free"
    ):
        unpack([path], small_disk / "to")
    assert not [file for file in small_disk.rglob("*") if file.is_file()]


def test_a_disk_that_fills_meanwhile_is_said(tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_check_sizes", lambda *sizes: None)
    path = write_tar(tmp_path / "a.tar", {"a.avi": os.urandom(2_000_000)})
    with pytest.raises(
        DataListError, match=r"a\.tar: cannot be unpacked into .*: No space left on device; .* MB are free"
    ):
        unpack([path], small_disk / "to")


SSV2_FILES = {"labels.json": '{"a b": 0}', "train.json": '[{"id": 1, "template": "a [b]"}]', "validation.json": "[]"}
KINETICS_FILES = {
    "train.csv": "label,youtube_id,time_start,time_end\na,x,1,11\n",
    "val.csv": "label,youtube_id,time_start,time_end\n",
}
KINETICS_FILES["val.csv"] += "a,y,1,11\n"
UCF101_FILES = {
    "classInd.txt": "1 A\n",
    **{f"{side}list0{n}.txt": "A/a.avi\n" for side in ("train", "test") for n in (1, 2, 3)},
}
DAMAGED = [
    ("ssv2", SSV2_FILES, "labels.json", '["a b"]'),
    ("ssv2", SSV2_FILES, "labels.json", '{"a b": "x"}'),
    ("ssv2", SSV2_FILES, "labels.json", "[" * 200_000),
    ("ssv2", SSV2_FILES, "train.json", "null"),
    ("ssv2", SSV2_FILES, "train.json", '{"id": 1}'),
    ("ssv2", SSV2_FILES, "train.json", "[1]"),
    ("ssv2", SSV2_FILES, "train.json", '[{"id": 1}]'),
    ("ssv2", SSV2_FILES, "validation.json", '[{"id": 1, "template": null}]'),
    ("kinetics", KINETICS_FILES, "train.csv", "label,youtube_id,time_start,time_end\na,x,1.5,11\n"),
    ("kinetics", KINETICS_FILES, "train.csv", f"label,youtube_id,time_start,time_end\na,x,1,1{'0' * 400}\n"),
    ("kinetics", KINETICS_FILES, "val.csv", "label,youtube_id,time_start,time_end\na,x\n"),
    ("kinetics", KINETICS_FILES, "val.csv", f'label,youtube_id,time_start,time_end\na,x,1,"{"2" * 200_000}\n'),
    ("ucf101", UCF101_FILES, "classInd.txt", "1\n"),
]


@pytest.mark.parametrize(("name", "sound", "damaged", "content"), DAMAGED)
def test_damaged_annotations_are_one_line(
    name: str, sound: Mapping[str, str], damaged: str, content: str, tmp_path: Path, clip: bytes
) -> None:
    source = tmp_path / "download"
    (source / "A").mkdir(parents=True)
    for video in ("1.webm", "x.mp4", "y.mp4", "A/a.avi"):
        (source / video).write_bytes(clip)
    for file, text in sound.items():
        (source / file).write_text(text)
    prepare(name, source, tmp_path / "sound", Official(1))
    for written in (content.encode(), b"\xff\xfe\0"):
        (source / damaged).write_bytes(written)
        with pytest.raises(DataListError, match=re.escape(f"{source / damaged}: ")) as refused:
            prepare(name, source, tmp_path / "out", Official(1))
        assert len(str(refused.value)) < 500
