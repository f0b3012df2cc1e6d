"""With a cache the frames are the same, from whichever process, however full, broken or shared it is."""

import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.frames import PYAV, frames, source
from tests.live_runs import memory_is_given_back
from tests.media import write_video
from tests.toy_runs import REPOSITORY, assert_same_run, environment, run, toy_config, write_config
from videoadapt.config.loading import load_config
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.system import lock
from videoadapt.video.cache import folder as cache_place
from videoadapt.video.cache.entry import KeptFrames
from videoadapt.video.decoders import open_video

FRAME_BYTES = 48 * 64 * 3
FILM_BYTES = 128 + 48 * FRAME_BYTES + 48 * 13 + 4  # a .npy, what each frame is checked by, and that its own


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for frames, left as at the end of a process."""
    yield tmp_path / "frames"
    cache_place.leave_all()


def decoded(path: Path) -> np.ndarray:
    """All frames of a video, from its decoder."""
    with open_video(path, PYAV) as decoder:
        return decoder.get(range(decoder.num_frames))


def entries(place: Path) -> list[Path]:
    """What is kept."""
    return sorted(place.glob("*/*.npy"))


def test_frames_come_from_the_cache_until_the_file_changes(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    truth = decoded(path)
    assert np.array_equal(frames(source(place), path, 5, 40, 5, 0), truth[[5, 40, 5, 0]])
    assert len(entries(place)) == 1
    for outside in (-1, 48):
        with pytest.raises(DecodeError, match=rf"a\.mp4: no frame {outside}; allowed: 0 to 47"):
            frames(source(place), path, 0, outside)
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))  # as long and as old, and no video: nothing opens it
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert np.array_equal(frames(source(place), path), truth)
    write_video(path, num_frames=20)
    assert np.array_equal(frames(source(place), path), decoded(path)) and len(entries(place)) == 2


def test_another_film_of_the_same_length_is_another(place: Path, tmp_path: Path) -> None:
    """A file that was encoded again into as many bytes has another time of change and nothing else."""
    path, other = (
        write_video(tmp_path / name, codec="mpeg4", num_frames=number) for name, number in (("a.avi", 20), ("b.avi", 9))
    )
    frames(source(place), path)
    content, size = other.read_bytes(), path.stat().st_size
    path.write_bytes(content + bytes(size - len(content)))
    os.utime(path, (1, 1))  # it is written within milliseconds, which may be one tick of the file system's clock
    assert path.stat().st_size == size
    assert np.array_equal(frames(source(place), path), decoded(path)) and len(decoded(path)) == 9


def test_a_full_cache_takes_nothing_more(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [write_video(tmp_path / f"{name}.mp4") for name in "abc"]
    bounded = source(place, 2.5 * FILM_BYTES / 1e9)
    for _ in range(2):
        assert all(np.array_equal(frames(bounded, path), decoded(path)) for path in paths)
    assert len(entries(place)) == 2
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        f"data.cache: {place} has no room for all videos, and the rest is decoded each time"
    ]
    cache_place.leave_all()
    entries(place)[0].unlink()
    assert np.array_equal(frames(source(place, 2.5 * FILM_BYTES / 1e9), paths[2]), decoded(paths[2]))
    assert len(entries(place)) == 2  # the next run counted what is there


@pytest.mark.parametrize("broken", ["shorter", "longer", "no header", "other numbers", "no colours", "other words"])
def test_a_broken_entry_is_decoded_anew(broken: str, place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    frames(source(place), path)
    (entry,) = entries(place)
    whole = entry.read_bytes()
    if broken == "other numbers":
        np.save(entry, np.load(entry).astype(np.int8))
    elif broken == "no colours":
        np.save(entry, np.load(entry)[..., 0])
    else:
        others = {"shorter": whole[:-1000], "longer": whole + b"0", "no header": bytes(len(whole))}
        others["other words"] = whole.replace(b"{'descr'", b"{('descr'", 1)[: len(whole)]
        entry.write_bytes(others[broken])
    assert np.array_equal(frames(source(place), path), decoded(path))
    assert entry.read_bytes() == whole
    if broken in ("no header", "other words"):  # as long as it was
        assert int((place / ".bytes").read_text()) == FILM_BYTES


def test_an_entry_cut_while_open_is_left_for_the_video(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "a.mp4", height=96, width=128)
    made = source(place, short_side_px=48)
    truth = frames(made, path)
    (entry,) = entries(place)
    with closing(made.open(path)) as film:
        os.truncate(entry, FILM_BYTES // 2)
        assert np.array_equal(film.get([0]), truth[[0]]) and not caplog.records
        assert np.array_equal(film.get([0, 40]), truth[[0, 40]])
        with pytest.raises(DecodeError, match=r"a\.mp4"):
            film.get([48])
    assert [record.message for record in caplog.records] == [
        f"data.cache: {entry} is made anew from its video: it was cut short"
    ]
    assert np.array_equal(frames(made, path), truth) and np.array_equal(np.load(entry), truth)


def zeroed(whole: bytes) -> bytes:
    return whole[:128] + bytes(48 * FRAME_BYTES) + whole[128 + 48 * FRAME_BYTES :]


def with_one_bit_turned(whole: bytes) -> bytes:
    place = 128 + 7 * FRAME_BYTES + 100
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def with_two_frames_exchanged(whole: bytes) -> bytes:
    first, second, third = 128, 128 + FRAME_BYTES, 128 + 2 * FRAME_BYTES
    return whole[:first] + whole[second:third] + whole[first:second] + whole[third:]


def with_another_mark(whole: bytes) -> bytes:
    return whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]


@pytest.mark.parametrize("damage", [zeroed, with_one_bit_turned, with_two_frames_exchanged, with_another_mark])
def test_a_damaged_entry_is_said_once_and_made_anew(
    damage: Callable[[bytes], bytes], place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "a.mp4")
    made = source(place)
    truth = frames(made, path)
    (entry,) = entries(place)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    for _ in range(3):
        assert np.array_equal(frames(made, path, 0, 7, 47), truth[[0, 7, 47]])
    assert len(caplog.records) == 1 and str(entry) in caplog.text and "anew" in caplog.text
    assert entry.read_bytes() == whole and int((place / ".bytes").read_text()) == FILM_BYTES


def test_an_entry_of_another_video_is_none(place: Path, tmp_path: Path) -> None:
    one, other = write_video(tmp_path / "a.mp4"), write_video(tmp_path / "b.mp4", options={"crf": "40"})
    made = source(place)
    truth = frames(made, one)
    (entry,) = entries(place)
    frames(made, other)
    (others,) = set(entries(place)) - {entry}
    entry.write_bytes(others.read_bytes())
    assert np.array_equal(frames(made, one), truth)


def test_another_version_of_a_decoder_finds_nothing_of_the_last(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    for version in ("1.0", "1.1"):
        own = tmp_path / version / "pyav-0.dist-info"
        own.mkdir(parents=True)
        (own / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pyav\nVersion: {version}\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(own.parent))
            frames(source(place), path)
    assert len(entries(place)) == 2


def test_an_entry_on_an_erring_disk_is_replaced(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Erring(io.FileIO):
        def readinto(self, buffer: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = write_video(tmp_path / "a.mp4")
    made = source(place)
    truth = frames(made, path)
    (entry,) = entries(place)
    old = entry.stat().st_ino
    with closing(made.open(path)) as film, Erring(entry) as file:
        assert isinstance(film, KeptFrames)
        film._file = file
        assert np.array_equal(film.get([3]), truth[[3]]) and not entries(place)
        assert np.array_equal(frames(made, path), truth)
        assert entry.stat().st_ino != old
    for _ in range(2):
        assert np.array_equal(frames(made, path), truth)
    assert [record.message for record in caplog.records] == [
        f"data.cache: {entry} is made anew from its video: [Errno 5] Input/output error"
    ]
    assert int((place / ".bytes").read_text()) == FILM_BYTES


def test_an_entry_made_anew_by_another_process_stays(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    made = source(place)
    truth = frames(made, path)
    (entry,) = entries(place)
    whole = entry.read_bytes()
    entry.write_bytes(zeroed(whole))
    with closing(made.open(path)) as film:
        (tmp_path / "new").write_bytes(whole)
        (tmp_path / "new").rename(entry)
        assert np.array_equal(film.get([0]), truth[[0]])
    assert entry.read_bytes() == whole and int((place / ".bytes").read_text()) == FILM_BYTES


def test_a_video_with_a_damaged_end_reads_as_without_a_cache(place: Path, tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "a.mp4", num_frames=96, options={"crf": "5"}, container_options=options)
    content = path.read_bytes()
    path.write_bytes(content[:-2000] + bytes(byte ^ 0xFF for byte in content[-2000:]))
    with pytest.raises(DecodeError):
        decoded(path)
    with closing(source(place).open(path)) as film, open_video(path, PYAV) as decoder:
        assert np.array_equal(film.get([0, 3]), decoder.get([0, 3]))
    assert not entries(place)


@pytest.mark.parametrize("cache", [True, False])
def test_larger_frames_are_made_smaller_with_and_without(cache: bool, place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", height=120, width=160)
    small = source(place, short_side_px=60) if cache else source(Path("off"), short_side_px=60)
    got = frames(small, path, 0, 7)
    assert got.shape == (2, 60, 80, 3)
    mean_of_4 = decoded(path)[[0, 7]].reshape(2, 60, 2, 80, 2, 3).mean(axis=(2, 4))
    assert np.abs(got - mean_of_4).mean() < 4  # antialiased, so near the mean of what each pixel stands for
    assert frames(source(place, short_side_px=120), path, 0).shape == (1, 120, 160, 3)


def test_a_video_that_takes_long_is_not_kept_and_still_read(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    hasty = source(place, limit_sec=1e-9)
    for _ in range(2):
        assert np.array_equal(frames(hasty, path, 3, 9), decoded(path)[[3, 9]])
    assert not entries(place) and int((place / ".bytes").read_text()) == 0 and not list(place.rglob("*.partial"))


def test_a_cache_that_goes_away_ends_nothing(place: Path, tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{name}.mp4") for name in "ab"]
    kept = source(place)
    frames(kept, paths[0])
    shutil.rmtree(place)
    assert all(np.array_equal(frames(kept, path), decoded(path)) for path in paths)


def test_a_folder_in_memory_is_a_folder_like_others(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache_place.MEMORY.parent) as name:
        place = Path(name)
        (place / "ab").mkdir()
        (place / "ab" / "features.npy").touch()
        path = write_video(tmp_path / "a.mp4")
        frames(source(place), path)
        cache_place.leave_all()
        assert (place / "ab" / "features.npy").exists() and len(entries(place)) == 2


def as_user(uid: int, act: Callable[[], object]) -> str:
    """What `act` returns or raises in a process of another user, as text."""
    theirs, ours = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgid(uid)
            os.setuid(uid)
            said = repr(act())
        except BaseException as error:  # noqa: BLE001 - it goes on in the parent
            said = f"{type(error).__name__}: {error}"
        os.write(ours, said.encode())
        os._exit(0)
    os.close(ours)
    with open(theirs) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


ATTACKER, VICTIM = 54_321, 54_322


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The place in memory of the user VICTIM, in a folder like /dev/shm, where everybody may write."""
    if os.geteuid() != 0:
        pytest.skip("acting as two users needs root")
    with tempfile.TemporaryDirectory(dir=cache_place.MEMORY.parent) as shared:
        os.chmod(shared, 0o1777)
        monkeypatch.setattr(cache_place, "MEMORY", Path(shared) / f"videoadapt-{VICTIM}")
        yield cache_place.MEMORY


def victim_joins() -> str:
    return as_user(VICTIM, lambda: cache_place.join("ram") and "joined")


@pytest.mark.parametrize("what", ["folder", "link", "file"])
def test_a_place_that_another_user_made_is_refused(what: str, memory: Path) -> None:
    secret = memory.parent / "secret"
    secret.mkdir()
    (secret / ".bytes").write_text("of the victim")
    os.chown(secret, VICTIM, VICTIM)
    os.chown(secret / ".bytes", VICTIM, VICTIM)

    def prepare_trap() -> None:
        os.umask(0)
        if what == "folder":
            memory.mkdir(mode=0o777)
            (memory / ".bytes").symlink_to(secret / ".bytes")
        else:
            memory.symlink_to(secret) if what == "link" else memory.touch()

    assert as_user(ATTACKER, prepare_trap) == "None"
    found = f"belongs to user {ATTACKER}, not to you \\({VICTIM}\\)" if what == "folder" else "is a link, not a folder"
    refused = (
        rf"ConfigError: data.cache = '?(ram|{re.escape(str(memory))})'?: (.* {found}.*; remove it|cannot be used: )"
    )
    assert re.match(refused, said := victim_joins()), said
    assert (secret / ".bytes").read_text() == "of the victim" and [path.name for path in secret.iterdir()] == [".bytes"]


def test_an_own_place_is_closed_to_others(memory: Path) -> None:
    assert victim_joins() == "'joined'" and victim_joins() == "'joined'"
    assert "PermissionError" in as_user(ATTACKER, lambda: list(memory.iterdir()))
    memory.chmod(0o755)
    assert "is open to other users (its mode is 755)" in victim_joins()
    memory.chmod(0o700)
    memory.parent.chmod(0o777)
    assert "can be replaced by anybody" in victim_joins()


@pytest.mark.parametrize("name", [".users", ".bytes", ".writing"])
def test_no_link_in_a_folder_is_followed(name: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    path = write_video(tmp_path / "a.mp4")
    place.mkdir()
    (place / name).symlink_to(tmp_path / "mine")
    if name == ".writing":  # looked at when a film is kept
        assert np.array_equal(frames(source(place), path), decoded(path)) and not entries(place)
    else:
        with pytest.raises(ConfigError, match=r"cannot be used: Too many levels of symbolic links"):
            source(place)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_an_entry_that_is_no_file_is_decoded_anew(what: str, place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    frames(source(place), path)
    (entry,) = entries(place)
    (tmp_path / "other.npy").write_bytes(bytes(FILM_BYTES))
    entry.unlink()
    entry.symlink_to(tmp_path / "other.npy") if what == "link" else os.mkfifo(entry)
    assert np.array_equal(frames(source(place), path), decoded(path))
    assert entry.is_file() and not entry.is_symlink() and not any((tmp_path / "other.npy").read_bytes())


def test_a_tenth_of_the_disk_stays_free_for_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_place.join(str(place))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 850, 150))
    assert not cache_place.reserve(place, 51, 10**9) and cache_place.reserve(place, 50, 10**9)
    assert cache_place.reserve(place, -50, 10**9) and int((place / ".bytes").read_text()) == 0


def test_an_unknown_word_is_no_folder(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", tmp_path))
    with pytest.raises(ConfigError, match=r"data.cache = 'on': .*allowed: off, ram, or a folder"):
        load_config(config, ["data.cache", "on"])
    with pytest.raises(ConfigError, match=r"data.cache = /proc/frames: cannot be used: "):
        source(Path("/proc/frames"))


@pytest.mark.slow
def test_a_full_disk_ends_the_cache_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        paths = [write_video(tmp_path / f"{name}.mp4") for name in "ab"]
        for path in paths:
            assert np.array_equal(frames(source(folder / "frames"), path), decoded(path))
        assert len(entries(folder / "frames")) == 1
        assert int((folder / "frames" / ".bytes").read_text()) == FILM_BYTES
    finally:
        cache_place.leave_all()
        subprocess.run(["umount", folder], check=True)


def test_a_place_that_cannot_be_tidied_is_let_go(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock stayed with the process, a notebook's perhaps: whoever came next waited for as long as that lived."""

    def full(of: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_place, "_tidy", full)
    with pytest.raises(ConfigError, match="cannot be used: No space left"):
        cache_place.join(str(place))
    with (place / ".users").open() as users:
        lock(users.fileno())


def test_a_killed_runs_readers_finish_their_films(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half is a film by the time that the next run comes to it, or an entry is gone."""
    half, entry = (place / "aa" / name for name in (f".{'a' * 64}.npy.1.partial", f"{'a' * 64}.npy"))
    half.parent.mkdir(parents=True)
    kept = entry.with_name(f"{'b' * 64}.npy")
    for path in (half, entry, kept):
        path.write_bytes(b"12345")

    def finish(name: str) -> bool:
        for path in (half, entry):
            path.unlink(missing_ok=True)
        return True

    monkeypatch.setattr(cache_place, "_OWN", SimpleNamespace(fullmatch=finish))
    assert cache_place.join(str(place)) == place and int((place / ".bytes").read_text()) == 5


@pytest.mark.slow
def test_runs_at_once_and_later_train_to_the_same_bits(clips: Path, tmp_path: Path) -> None:
    def train(name: str, *overrides: str) -> str:
        config = write_config(tmp_path / f"{name}.yaml", toy_config(tmp_path / name, clips))
        return run(config, *overrides)

    train("plain")
    place = tmp_path / "frames"
    caches = {"here": ("0", place), "there": ("2", place), "memory": ("2", "ram")}
    with ThreadPoolExecutor() as pool:
        for done in [
            pool.submit(train, name, f"data.workers={n}", f"data.cache={where}") for name, (n, where) in caches.items()
        ]:
            done.result()
    assert int((place / ".bytes").read_text()) == sum(entry.stat().st_size for entry in entries(place))
    train("later", f"data.cache={place}", "data.workers=1")
    for name in (*caches, "later"):
        assert_same_run(tmp_path / "plain", tmp_path / name)
    assert len(entries(place)) == 8 * (6 + 2)
    assert memory_is_given_back()


WRITES = """
import sys
from pathlib import Path
from videoadapt.video.cache.folder import only_one_at
with only_one_at(Path(sys.argv[1])) as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


def test_one_process_keeps_a_film_while_others_read_it(place: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    made = source(place)
    entry = made._entry(path)
    assert entry is not None
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, str(entry)], cwd=REPOSITORY, env=environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        assert np.array_equal(frames(made, path), decoded(path)) and not entries(place)
        other.kill()
    half = entry.with_name(f".{entry.name}.1234.partial")  # what a process leaves that is killed while it writes
    half.write_bytes(bytes(1000))
    (place / ".bytes").write_text(f"{FILM_BYTES:020d}")
    assert np.array_equal(frames(made, path), decoded(path)) and entries(place) == [entry] and not half.exists()
    assert int((place / ".bytes").read_text()) == FILM_BYTES


FILLS = """
import os, sys, time
from pathlib import Path
from tests.frames import frames, source
from videoadapt.video.cache import folder
folder.MEMORY = Path(sys.argv[2])
made = source("ram")
frames(made, Path(sys.argv[1]))
print("filled", flush=True)
time.sleep(600)
"""


@pytest.fixture
def own_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place in memory that no other run on this machine uses at the same time, as a quickstart does."""
    with tempfile.TemporaryDirectory(dir=cache_place.MEMORY.parent) as shared:
        monkeypatch.setattr(cache_place, "MEMORY", Path(shared) / "videoadapt")
        yield cache_place.MEMORY


@pytest.mark.slow
def test_memory_is_given_back_even_after_a_kill(tmp_path: Path, own_memory: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    command = [sys.executable, "-c", FILLS, str(path), str(own_memory)]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment(), text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == "filled\n"
        first = source(Path("ram"))  # joins while the other is at work: its frames stay
        kept = entries(own_memory)
        process.send_signal(signal.SIGKILL)
    assert len(kept) == 1 and entries(own_memory) == kept
    assert np.array_equal(frames(first, path), decoded(path))
    cache_place.leave_all()
    assert not entries(own_memory)
