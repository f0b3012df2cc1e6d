"""Testing a long or a large film holds the frames of its views, small, and not the film."""

import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.media import write_video
from tests.toy_runs import REPOSITORY, environment

PEAK_OF_VIEWS = """
import sys
from pathlib import Path
from videoadapt.config.schema import Config
from videoadapt.runs.build_data import build_view_reader

def megabytes(field):
    return int(Path("/proc/self/status").read_text().partition(field + ":")[2].split()[0]) / 1024

short, film, decoder, sampling, clips, frames = sys.argv[1:]
data = {"decoder": {"name": decoder}, "num_frames": int(frames), "sampling": {"name": sampling}}
config = Config.model_validate({"output": "unused", "data": data})

views = build_view_reader(config.data, int(clips), 3)

views(short)  # the libraries are in memory now
before = megabytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the highest use starts anew
assert views(film).shape == (int(clips), 3, 3, int(frames), 224, 224)
print(megabytes("VmHWM") - before)
"""


def write_repeated(path: Path, times: int, height: int, width: int) -> Path:
    """A film of one closed group of 10 pictures, `times` times: its packets are copied, not encoded again."""
    group = write_video(path.with_name("group_" + path.name), num_frames=10, gop=10, height=height, width=width)
    with av.open(str(group)) as source, av.open(str(path), "w") as film:
        stream = source.streams.video[0]
        copy = film.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        for number in range(times):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.stream, again.time_base, again.is_keyframe = copy, stream.time_base, packet.is_keyframe
                again.duration = packet.duration
                shift = number * len(packets) * packet.duration
                again.pts, again.dts = packet.pts + shift, packet.dts + shift
                film.mux(again)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure the highest use")
@pytest.mark.parametrize(
    ("size", "times", "decoder", "sampling", "clips", "frames", "bound"),
    [
        # Ten minutes, 15,000 frames: 3.4 GB as pictures. Measured 45, 26 and 68 MB; 14 MB of it are the views.
        ((240, 320), 1500, "decord", "dense", 4, 8, 150),
        ((240, 320), 1500, "pyav", "dense", 4, 8, 150),
        ((240, 320), 1500, "decord", "segment", 2, 16, 150),
        # 80 frames of 6.2 MB: 1111 MB when all are held in full, 317 MB by parts.
        ((1080, 1920), 25, "pyav", "dense", 5, 16, 600),
    ],
)
def test_peak_memory_of_the_views_of_one_film(
    tmp_path: Path, size: tuple[int, int], times: int, decoder: str, sampling: str, clips: int, frames: int, bound: int
) -> None:
    film = write_repeated(tmp_path / "film.mp4", times, *size)
    with av.open(str(film)) as container:
        assert container.streams.video[0].frames == 10 * times
    short = write_video(tmp_path / "short.mp4")
    arguments = [str(short), str(film), decoder, sampling, str(clips), str(frames)]
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_VIEWS, *arguments],
        cwd=REPOSITORY, env=environment(), text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < bound
