"""A stream asked about while it runs, from real servers on this machine: its end, its breaks, and a model that is too slow."""

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import av
import numpy as np
import pytest
import torch

from tests.media import picture, write_video
from tests.toy_runs import toy_config, write_config
from videoadapt.cli._live import show_live
from videoadapt.config.loading import load_config
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.inference.live import Look, watch
from videoadapt.inference.predictor import Predictor
from videoadapt.runs.build import build_seeded_model
from videoadapt.video import live as live_module
from videoadapt.video.decoders import open_video

NUM_FRAMES, SPAN = 40, 8  # of the film, at 25 a second, and of a look: four frames at stride 2
NAMES = [f"class {number}" for number in range(8)]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("live")
    content = toy_config(folder / "run", folder / "clips", test={"clips": 1, "crops": 1})
    config = load_config(write_config(folder / "c.yaml", content))
    made = Predictor(config, NAMES, build_seeded_model(config, 8).eval(), torch.device("cpu"))
    made.predict(np.zeros((SPAN, 48, 64, 3), np.uint8))  # the first pass takes longest, and streams do not wait
    return made


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.ts", num_frames=NUM_FRAMES)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, *arguments: object, film: Path, share: float, times: int):
        self.film, self.share, self.times = film, share, times
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        content = self.film.read_bytes() * self.times
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: int(self.share * len(content))])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url(request: pytest.FixtureRequest, film: Path) -> Iterator[str]:
    """Of a server that sends the film, or with a parameter this share of what it says, or so many times one after the other."""
    share = getattr(request, "param", 1.0)
    handler = partial(Handler, film=film, share=min(share, 1.0), times=max(1, int(share)))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}/film.ts"
        server.shutdown()


def check_answers(looks: list[Look], predictor: Predictor, film: Path) -> None:
    """Each look says what the model says of these frames of the file."""
    with open_video(film, "pyav") as video:
        frames_NHWC = video[:]
    for look in looks:
        expected = predictor.predict(frames_NHWC[look.num_frames - SPAN : look.num_frames], top=8, fps_hz=25)
        assert {p.label: p.probability for p in look.predictions} == pytest.approx(
            {p.label: p.probability for p in expected}, abs=1e-6
        )
        assert look.end_sec == pytest.approx((look.num_frames - 1) / 25, abs=1e-3)
        assert look.end_sec - look.start_sec == pytest.approx((SPAN - 1) / 25, abs=1e-3)


def test_looks_are_answers_to_the_same_frames(url: str, predictor: Predictor, film: Path) -> None:
    start = time.monotonic()
    looks = list(watch(predictor.asking, url, top=8))
    assert time.monotonic() - start > (NUM_FRAMES - 2) / 25  # at its own pace, although all of it came at once
    check_answers(looks, predictor, film)
    assert len(looks) > 1 and looks[-1].num_frames == NUM_FRAMES
    assert all(later.num_frames > look.num_frames for look, later in pairwise(looks))


@pytest.mark.parametrize("url", [2], indirect=True)
def test_time_goes_on_where_the_stamps_jump(url: str, predictor: Predictor) -> None:
    looks = list(watch(predictor.asking, url))  # the second time the film begins at its first stamp again
    assert looks[-1].num_frames == 2 * NUM_FRAMES
    for look in looks:
        assert look.end_sec == pytest.approx((look.num_frames - 1) / 25, abs=1e-3)
        assert look.end_sec - look.start_sec == pytest.approx((SPAN - 1) / 25, abs=1e-3)


def test_a_model_too_slow_says_what_it_missed(url: str, predictor: Predictor, film: Path) -> None:
    def slow(views_VCTHW: torch.Tensor) -> torch.Tensor:
        time.sleep(0.6)  # fifteen frames
        return predictor.asking.logits(views_VCTHW)

    looks = list(watch(dataclasses.replace(predictor.asking, logits=slow), url, top=8))
    check_answers(looks, predictor, film)
    seen = {n for look in looks for n in range(look.num_frames - SPAN, look.num_frames)}
    assert looks[-1].num_missed == looks[-1].num_frames - len(seen) > 0
    assert looks[-1].num_frames == NUM_FRAMES  # the end is looked at all the same


@pytest.mark.parametrize("url", [0.7], indirect=True)
def test_a_stream_that_breaks_off(url: str, predictor: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_live(predictor.asking, url, 2, None, records=True) == 3
    shown = capsys.readouterr()
    name = url.replace("user:secret@", "")
    assert f"error: {name}: broke off after " in shown.err and "secret" not in shown.err + shown.out
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert records and all(len(of["predictions"]) == 2 and of["source"] == name for of in records)
    assert f"{name}: {len(records)} looks; " in shown.err


@pytest.mark.parametrize("url", [0.05], indirect=True)
def test_a_stream_too_short_for_a_look(url: str, predictor: Predictor) -> None:
    with pytest.raises(DecodeError, match="127"):
        list(watch(predictor.asking, url))


@pytest.mark.slow
def test_a_stream_by_udp_that_falls_silent(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "TIMEOUT_SEC", 5.0)
    with socket(AF_INET, SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{free.getsockname()[1]}"

    seen_enough = threading.Event()

    def send() -> None:
        with av.open(f"{address}?pkt_size=1316", "w", format="mpegts") as out:
            stream = out.add_stream("libx264", rate=25, options={"tune": "zerolatency", "preset": "ultrafast"})
            stream.height, stream.width, stream.pix_fmt, stream.gop_size = 48, 64, "yuv420p", 5
            for index in range(3000):
                if seen_enough.is_set():
                    break
                frame = av.VideoFrame.from_ndarray(picture(index, 48, 64), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                out.mux(stream.encode(frame))
                time.sleep(0.04)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    looks = []
    with pytest.raises(DecodeError, match=r"udp://127.*: broke off after \d+ frames: nothing came for 5 s"):
        for look in watch(predictor.asking, address):
            looks.append(look)
            if len(looks) > 2 and look.num_frames > 2 * SPAN:
                seen_enough.set()
    assert seen_enough.is_set()
    sender.join()


def test_what_is_no_stream(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"film\.mp4: neither the index of a camera nor the URL of a stream; allowed: http,"
    ):
        next(watch(predictor.asking, "film.mp4"))
    with pytest.raises(ConfigError, match="neither the index"):
        next(watch(predictor.asking, f"file://{tmp_path}/x.mp4"))
    with pytest.raises(DecodeError, match=r"^http://127\.0\.0\.1:9/x: cannot be opened: Connection refused"):
        next(watch(predictor.asking, "http://me:secret@127.0.0.1:9/x"))
    with pytest.raises(
        DecodeError, match=r"^97: cannot be opened as the camera /dev/video97: No such .*; cameras here: (none|\d)"
    ):
        next(watch(predictor.asking, "97"))
    with pytest.raises(ConfigError, match=r"window_sec = 0\.0: allowed: above 0"):
        next(watch(predictor.asking, "97", window_sec=0.0))
