"""What the page of `demo --serve` refuses: other sites, films that are too large, files that are none or name others."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import videoadapt as va
from tests.media import write_video
from videoadapt.cli import demo
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError, DecodeError
from videoadapt.inference.page.app import build_app
from videoadapt.inference.page.desk import Full
from videoadapt.inference.page.film import measure
from videoadapt.inference.page.limits import Limits
from videoadapt.inference.page.looking import Looker, Question, titles
from videoadapt.inference.page.serving import serve

HOME = "http://localhost"
LIMITS = Limits(max_mb=0.1)


class OneAnswer:
    """Stands for the desk, with as many free places as it is told; its answer is the size of what was uploaded."""

    def __init__(self, free: int = 1):
        self.free = free

    @contextmanager
    def place(self) -> Iterator[None]:
        if not self.free:
            raise Full
        yield

    def line(self, film: Path) -> AbstractContextManager[None]:
        return nullcontext()

    async def answer(self, asked: Question, is_closing: Callable[[], bool]) -> AsyncIterator[dict[str, Any]]:
        yield {"ahead": 1}
        yield {"answer": asked.film.stat().st_size}


def client(folder: Path, free: int = 1) -> TestClient:
    app = build_app(OneAnswer(free), {"models": []}, LIMITS, folder, lambda: False)  # type: ignore[arg-type]
    return TestClient(app, base_url=HOME, headers={"Origin": HOME})


def test_only_the_page_itself_is_answered(tmp_path: Path) -> None:
    page = client(tmp_path)
    assert page.post("/films", content=b"x" * 7).text == '{"ahead": 1}\n{"answer": 7}\n'
    assert page.post("/films", content=b"x", headers={"Origin": "http://localhost:9"}).status_code == 403
    assert TestClient(page.app, base_url=HOME).post("/films", content=b"x").status_code == 403
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert page.get("/", headers={"Host": host}).status_code == 400
        assert page.post("/films", content=b"x", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 400
    for address in ("/", "/page.js", "/page.css", "/about"):
        policy = page.get(address).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not list(tmp_path.iterdir())


def test_an_upload_ends_at_the_limit(tmp_path: Path) -> None:
    page, sent, answer = client(tmp_path), [], []
    assert page.post("/films", content=b"x" * 100_000).text.endswith('{"answer": 100000}\n')
    told = page.post("/films", content=b"x" * 100_001)
    assert (told.status_code, told.text[:24]) == (413, "it is larger than 0.1 MB")

    async def receive() -> dict[str, Any]:  # of a client that does not say how much will come, and never stops
        sent.append(10_000)
        assert sum(sent) <= 110_000
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": True}

    async def send(message: Any) -> None:
        answer.append(message)

    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    scope = {"type": "http", "method": "POST", "path": "/films", "headers": headers, "query_string": b"", "asgi": {}}
    asyncio.run(page.app(scope, receive, send))
    assert answer[0]["status"] == 413 and len(sent) == 11
    assert not list(tmp_path.iterdir())


def test_a_full_line_is_said(tmp_path: Path) -> None:
    answer = client(tmp_path, free=0).post("/films", content=b"x")
    assert (answer.status_code, answer.text[:24]) == (429, "16 films wait already, w")


def test_files_that_name_others_are_not_followed(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4")
    config = Config(output=tmp_path)
    assert measure(film, config, LIMITS).length_sec == pytest.approx(48 / 25)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.92,\nfilm.mp4\n#EXT-X-ENDLIST\n"
    for text in (
        playlist,
        "ffconcat version 1.0\nfile film.mp4\n",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ):
        (tmp_path / "upload").write_text(text)
        with pytest.raises(DecodeError, match="or no video"):
            measure(tmp_path / "upload", config, LIMITS)
    with pytest.raises(DecodeError, match="it lasts 2 s; allowed: 1 s"):
        measure(film, config, Limits(max_sec=1))


def test_a_port_that_is_taken_and_limits_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigError, match=r"--serve .* in use; name another"),
    ):
        serve(lambda: ([], None, []), LIMITS, other.getsockname()[1], None, print)  # type: ignore[arg-type,return-value]
    assert demo.main(["--serve", "--max-mb", "0", "--max-sec", "-1", "--max-waiting", "-1"]) == 2
    assert capsys.readouterr().err.count("allowed: ") == 3
    with pytest.raises(SystemExit):
        demo.main(["film.mp4", "--serve"])
    assert "--serve: goes with no video" in capsys.readouterr().err


def test_without_the_extra_a_line_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "videoadapt.inference.page.serving")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert demo.main(["--serve"]) == 2
    said = capsys.readouterr().err
    assert said == "error: --serve: needs uvicorn, which is not installed: pip install 'videoadapt[web]'\n"


def test_a_film_of_another_rate_is_answered_with_a_word_on_it(tmp_path: Path) -> None:
    """The quickstart's model, which the page opens where there is no run, has seen films of 12 frames a second."""
    adapter = "package:quickstart_adapter.safetensors"

    def said(film: Path, fps_hz: float | None = None) -> str:
        look = Looker(
            lambda: ([{"adapter": adapter}], va.load(adapter, device="cpu", fps_hz=fps_hz).asking, []), Limits()
        )
        answer = look(Question(film))
        assert isinstance(answer, dict), answer
        return str(answer["other_rate"])

    slow, fast = (write_video(tmp_path / f"{hz}.mp4", num_frames=hz * 2, fps_hz=hz) for hz in (12, 50))
    assert said(fast) == (
        "The film has 50 frames a second, and the training's had 12. The model counts frames, so that the film looks slower or "
        "faster to it than those did; with --fps-hz 12 it would not."
    )
    assert said(slow) == said(fast, 12) == ""


def test_adapters_are_told_apart() -> None:
    sources = [{"adapter": "a/adapter.safetensors"}, {"adapter": "b/adapter.safetensors"}, {"run": "outputs/x\n"}]
    assert titles(sources) == ["a/adapter.safetensors", "b/adapter.safetensors", "x\\n"]
