"""Members of a tar are the files that went into it: frames, times, bytes and what is said of damage, by every decoder."""

import gzip
import hashlib
import os
import shutil
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.frames import PYAV, decoders_here, frames, require_decoder, source
from tests.media import write_video
from tests.shards import write_shard
from videoadapt.data.copies import find_copies
from videoadapt.errors import DataListError, DecodeError
from videoadapt.preparing.inspection import inspect_file
from videoadapt.video import shards
from videoadapt.video.cache.folder import leave_all
from videoadapt.video.decoders import open_video
from videoadapt.video.files import open_bytes, place_of
from videoadapt.video.shards import members_of, span_of


@pytest.fixture
def films(tmp_path: Path) -> dict[str, Path]:
    """Two that are seeked in, one with cut header checks, one in order."""
    made = [
        write_video(tmp_path / "a b, c.mp4", bframes=2),
        write_video(tmp_path / "b.mkv"),
        write_video(tmp_path / "c.avi", codec="mpeg4", bframes=2),
        write_video(tmp_path / "d.ts"),
    ]
    return {path.name: path for path in made}


@pytest.fixture
def shard(films: dict[str, Path], tmp_path: Path) -> Path:
    content = {f"x/{name}" if name == "b.mkv" else name: path.read_bytes() for name, path in films.items()}
    return write_shard(tmp_path / "odd, name 1.tar", content)


def in_shard(shard: Path, name: str) -> Path:
    return shard / "x" / name if name == "b.mkv" else shard / name


@pytest.mark.parametrize("decoder", decoders_here())
def test_a_member_is_the_file_that_went_in(films: dict[str, Path], shard: Path, decoder: str) -> None:
    require_decoder(decoder)
    for name, path in films.items():
        with open_video(path, decoder) as file, open_video(in_shard(shard, name), decoder) as member:
            assert len(file) == len(member) == 48 and type(file) is type(member)
            for indices in ([40, 3, 3], [*range(48)]):
                assert np.array_equal(file.get(indices), member.get(indices))
            assert np.array_equal(file.times.until_sec, member.times.until_sec)
    assert sorted(os.listdir(shard.parent)) == sorted(
        [*films, shard.name, f"{shard.name}.index.json"]
    )  # nothing unpacked


def test_real_clips_in_a_tar(clips_dir: Path, tmp_path: Path) -> None:
    names = ["arm_wrestling.mp4", "v_SoccerJuggling_g23_c01.avi", "TrumanShow_wave_f_nm_np1_fr_med_26.avi"]
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        for name in names:
            tar.add(clips_dir / name, arcname=f"./{name}")
    for name in names:
        with open_video(clips_dir / name) as file, open_video(tmp_path / "clips.tar" / name) as member:
            wanted = [len(file) - 1, 0, 17, 18]
            assert len(file) == len(member) and np.array_equal(file.get(wanted), member.get(wanted))


def test_bytes_and_places_of_members(films: dict[str, Path], shard: Path, tmp_path: Path) -> None:
    for name, path in films.items():
        member, content = in_shard(shard, name), path.read_bytes()
        with open_bytes(member) as file:
            assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()
            assert (
                file.seek(-10, os.SEEK_END) == len(content) - 10
                and file.read(99) == content[-10:]
                and file.read(1) == b""
            )
        assert inspect_file(path, PYAV) == inspect_file(member, PYAV)
    places = {place_of(in_shard(shard, name)) for name in films}
    assert len(places) == 4 and None not in places
    (tmp_path / "link.tar").symlink_to(shard)
    assert place_of(tmp_path / "link.tar" / "c.avi") == place_of(shard / "c.avi")
    groups = find_copies([str(films["c.avi"]), str(shard / "c.avi"), str(shard / "d.ts")])
    assert groups == [[0, 1]]


def test_a_tar_that_changes_is_looked_at_again(films: dict[str, Path], shard: Path) -> None:
    """By this process, and by one that finds the index beside it."""
    before = span_of(shard / "c.avi")
    write_shard(shard, {"first": b"0" * 99, "c.avi": films["c.avi"].read_bytes()})
    assert span_of(shard / "c.avi") != before and list(members_of(shard)) == ["first", "c.avi"]
    shards._known.clear()
    assert list(members_of(shard)) == ["first", "c.avi"]
    with open_video(shard / "c.avi") as member, open_video(films["c.avi"]) as file:
        assert np.array_equal(member[:3], file[:3])


def test_an_index_saves_the_walk_and_a_bad_one_is_none(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = members_of(shard)
    shards._known.clear()
    walked = []
    original = shards._walk
    monkeypatch.setattr(shards, "_walk", lambda *args: walked.append(1) or original(*args))
    assert members_of(shard) == members and not walked
    for bad in ("{", "[]", '{"layout": 1, "state": [1, 2], "members": []}', '{"layout": 9}'):
        Path(f"{shard}.index.json").write_text(bad)
        shards._known.clear()
        assert members_of(shard) == members and walked.pop() == 1


def test_a_folder_that_is_called_tar_is_a_folder(films: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "unpacked.tar").mkdir()
    shutil.copy(films["c.avi"], tmp_path / "unpacked.tar")
    write_shard(tmp_path / "unpacked.tar" / "in.tar", {"c.avi": films["c.avi"].read_bytes()})
    for path in (tmp_path / "unpacked.tar" / "c.avi", tmp_path / "unpacked.tar" / "in.tar" / "c.avi"):
        with open_video(path) as film:
            assert len(film) == 48


def test_what_is_wrong_with_a_tar_is_one_line(shard: Path, films: dict[str, Path], tmp_path: Path) -> None:
    content = shard.read_bytes()
    doubled = tmp_path / "doubled.tar"
    with tarfile.open(doubled, "w") as tar:
        for _ in range(2):
            tar.add(films["c.avi"], arcname="c.avi")
    end = max(start + size for start, size in members_of(shard).values())
    bad = {
        "is compressed (gzip); unpack it": gzip.compress(content),
        "is cut off, damaged or no tar": content[: end - 5],
        "is cut off, its end is missing": content[: -(-end // 512) * 512],
        "goes on behind its end, as tars that were joined": content + content,
        "is cut off, damaged or no tar (": b"no tar" * 999,
        "is empty; copy it again": b"",
        "c.avi is there twice": doubled.read_bytes(),
    }
    for said, damaged in bad.items():
        path = tmp_path / "bad.tar"
        path.write_bytes(damaged)
        with pytest.raises(DataListError) as error:
            members_of(path)
        assert str(error.value).startswith(f"{path}: {said}") and "\n" not in str(error.value)
        with pytest.raises(DecodeError, match=r"bad\.tar/c\.avi: lies in a tar that cannot be read"):
            open_video(path / "c.avi")
    with pytest.raises(DecodeError, match=r"none\.avi: .* has no such member"):
        open_video(shard / "none.avi")
    damaged = write_shard(
        tmp_path / "cut.tar", {"b.mkv": films["b.mkv"].read_bytes()[:-99], "no.mp4": b"<html>", "0.mp4": b""}
    )
    for name, said in {
        "b.mkv": "its last 99 bytes are missing",
        "no.mp4": "is a web page",
        "0.mp4": "is empty",
    }.items():
        with pytest.raises(DecodeError, match=said):
            open_video(damaged / name)


def test_a_cache_keeps_members(films: dict[str, Path], shard: Path, tmp_path: Path) -> None:
    reading = source(tmp_path / "frames")
    try:
        truth = frames(source(tmp_path / "none", cache="off"), films["c.avi"], 5, 40)
        for _ in range(2):
            assert np.array_equal(frames(reading, shard / "c.avi", 5, 40), truth)
        assert len([*tmp_path.glob("frames/*/*.npy")]) == 1
    finally:
        leave_all()


def test_several_threads_look_into_many_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One went through what was known while another forgot some of it."""
    paths = [write_shard(tmp_path / f"{number}.tar", {"a": b"1", "b": b"2"}) for number in range(40)]
    monkeypatch.setattr(shards, "_MOST_MEMBERS", 40)
    before = sys.getswitchinterval()

    def look(first: int) -> None:
        for number in range(400):
            assert len(members_of(paths[(first * 7 + number) % 40])) == 2

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(look, range(8)))  # which raises what a thread raised
    finally:
        sys.setswitchinterval(before)
