"""`demo --serve` in a real Chromium, as a person uses it: with real files, with the keyboard alone, and with others at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import videoadapt as va
from tests.forked import heed_all_signals
from tests.live_runs import descendants, is_gone
from tests.media import write_video
from tests.plugins import install
from tests.toy_runs import environment
from videoadapt.cli import export
from videoadapt.weights.files import weights_path

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.slow

# A stand-in for native code with a bug: it ends its process at a film of 30 frames, and hangs at one of 31.
MORTAL = """
import os, signal, time

from videoadapt.video.decoders.pyav import PyAV


class Mortal(PyAV):
    def __init__(self, path, /, *, threads: int = 1):
        super().__init__(path, threads=threads)
        if self.num_frames == 30:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.num_frames == 31:
            time.sleep(600)
"""


class Served(NamedTuple):
    """A running page."""

    process: "subprocess.Popen[bytes]"
    address: str
    log: Path
    uploads: Path  # where its temporary folder lies


def adapter(path: Path, classes: list[str] | None = None) -> Path:
    """The quickstart's, for the decoder above, perhaps with other names of its classes."""
    source = weights_path("package:quickstart_adapter.safetensors")
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])
    config["data"]["decoder"] = {"name": "mortal", "threads": 1}
    metadata["config"] = json.dumps(config)
    if classes:
        metadata["class_names"] = json.dumps(classes)
    save_file(load_file(source), path, metadata)
    return path


@contextmanager
def serving(folder: Path, *given: str) -> Iterator[Served]:
    """The page of the model that is `given`, until the block ends."""
    (folder / "tmp").mkdir()
    environ = environment() | {"TMPDIR": str(folder / "tmp")}
    environ["PYTHONPATH"] += f"{os.pathsep}{folder / 'site'}"
    command = [sys.executable, "-m", "videoadapt", "demo", "--serve", "0", "--device", "cpu", *given]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=environ, stderr=log, preexec_fn=heed_all_signals) as process,
    ):
        try:
            deadline = time.monotonic() + 240
            while "http" not in (said := (folder / "log").read_text()):
                assert process.poll() is None and time.monotonic() < deadline, said
                time.sleep(0.05)
            yield Served(process, said.split()[-4], folder / "log", folder / "tmp")
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two adapters of one trunk, room for nine films that wait."""
    folder = tmp_path_factory.mktemp("page")
    install(folder / "site", "mortal", {"decoders": "mortal = mortal:Mortal"}, mortal=MORTAL)
    names = [
        adapter(folder / "motions.safetensors"),
        adapter(folder / "numbers.safetensors", [f"no {k}" for k in range(8)]),
    ]
    with serving(folder, "--max-waiting", "9", *(part for name in names for part in ("--adapter", str(name)))) as page:
        yield page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        assert os.environ.get("CI") != "true", "CI installs chromium"
        pytest.skip(f"there is no {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        how = {"args": ["--no-sandbox"], "timeout": 300_000}  # as root; on a busy machine it takes its time to start
        browser = started.chromium.launch(executable_path=str(CHROMIUM), **how)
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Any, served: Served, **how: Any) -> Iterator[Any]:
    """A page that must say nothing to the console, which is where refusals of the policy stand."""
    context = chromium.new_context(**how)
    page, said = context.new_page(), []
    page.set_default_timeout(300_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(served.address)
    page.wait_for_selector("#models summary")
    try:
        yield page
    finally:
        context.close()
    assert not [line for line in said if "429" not in line]


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    return [f"{v['id']}: {[n['html'] for n in v['nodes']]}" for v in Axe().run(page).response["violations"]]


def wait_for(page: Any, expression: str) -> None:
    """Until an expression of the page holds; Playwright's own would be evaluated in the page, which its policy forbids."""
    deadline = time.monotonic() + 300
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def upload(page: Any, film: Path) -> None:
    page.set_input_files("#film", film)
    page.wait_for_selector("#result:not([hidden])")


def problem(page: Any, film: Path) -> str:
    page.set_input_files("#film", film)
    wait_for(page, "problem.textContent")
    assert page.is_hidden("#result")
    return str(page.text_content("#problem"))


def uploads(served: Served) -> list[Path]:
    """What lies there once answers are over."""
    deadline = time.monotonic() + 60
    while (found := list(served.uploads.glob("videoadapt-page-*/*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def marker(page: Any) -> float:
    """Where the timeline is, in seconds of the film."""
    return float(page.evaluate("parseFloat(marker.style.left) / 100 * moment.max"))


def play_and_pause(page: Any) -> None:
    """Beyond the first second; and the timeline comes to where the film stands."""
    page.evaluate("player.muted = true; player.play()")
    wait_for(page, "player.currentTime > 1")
    page.evaluate("player.pause()")
    wait_for(page, "Math.abs(parseFloat(marker.style.left) / 100 * moment.max - player.currentTime) < 0.05")


def test_a_real_clip_is_answered_and_followed(chromium: Any, served: Served, clips_dir: Path) -> None:
    film = clips_dir / "arm_wrestling.mp4"
    with opened(chromium, served) as page:
        upload(page, film)
        model = va.load("package:quickstart_adapter.safetensors", device="cpu")
        expected = model.predict(film)
        shown = page.locator("#whole li").evaluate_all(
            "items => items.map(i => [i.children[0].textContent, i.children[1].textContent])"
        )
        # 0.1 %: what is shown; the adapters share a pass, whose sums have another order
        assert [name for name, _ in shown] == [said.name for said in expected]
        assert all(
            abs(float(p.split()[0]) - 100 * said.probability) < 0.11
            for (_, p), said in zip(shown, expected, strict=True)
        )
        assert str(page.text_content("#rate")).startswith("The film has ") and page.is_visible("#rate")
        page.select_option("#task", label="numbers.safetensors")
        assert page.text_content("#whole .name") == f"no {expected[0].label}"
        page.click("#explain")
        page.wait_for_selector("#marks:not([hidden])")
        found = model.explain(film)
        middle_NTHW = found.maps_NJTHW[:, found.maps_NJTHW.shape[1] // 2]
        most = found.seconds_NT.flat[middle_NTHW.mean(axis=(2, 3)).argmax()]
        said = page.text_content("#sheet-text")
        assert f"what spoke for no {expected[0].label}, most of all at {most:.1f} s" in said
        assert page.evaluate("sheet.naturalWidth") > 1000 and f"{most:.1f} s" in page.get_attribute("#sheet", "alt")
        assert marker(page) == 0
        play_and_pause(page)
        assert marker(page) > 1 and page.text_content("#clock") == f"{marker(page):.1f} s"
        assert not uploads(served)  # the film that plays is the browser's own
        assert [folder.stat().st_mode & 0o777 for folder in served.uploads.glob("videoadapt-page-*")] == [0o700]


def test_an_onnx_file_answers_on_the_page(chromium: Any, clips_dir: Path, tmp_path: Path) -> None:
    """Its prediction and its timeline, which moves; no button for where it looked, which the file cannot tell."""
    onnx, film = tmp_path / "model.onnx", clips_dir / "arm_wrestling.mp4"
    assert export.main([str(onnx), "--adapter", "package:quickstart_adapter.safetensors"]) == 0
    with serving(tmp_path, "--onnx", str(onnx)) as page_of_it, opened(chromium, page_of_it) as page:
        upload(page, film)
        shown = page.locator("#whole li").evaluate_all(
            "items => items.map(i => [i.children[0].textContent, parseFloat(i.children[1].textContent)])"
        )
        expected = va.load(onnx).predict(film)
        assert [name for name, _ in shown] == [said.name for said in expected]
        assert [100 * said.probability for said in expected] == pytest.approx([p for _, p in shown], abs=0.11)
        assert page.is_hidden("#explain") and page.is_hidden("#marks")
        assert "model.onnx" in str(page.text_content("#models")) and page.locator("#segments button").count() >= 1
        before = page.text_content("#now")
        play_and_pause(page)
        assert marker(page) > 1
        page.evaluate("moment.value = moment.max; moment.dispatchEvent(new Event('input'))")
        assert marker(page) == pytest.approx(float(page.get_attribute("#moment", "max")))
        assert page.text_content("#now") != before


def test_axe_finds_nothing(chromium: Any, served: Served, tmp_path: Path) -> None:
    """Before a film, with one refused and with one answered; and nothing is wider than the window."""
    film, text = write_video(tmp_path / f"{'a long name ' * 8}.mp4", num_frames=40), tmp_path / "x.mp4"
    text.write_text("no film")
    for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light")):
        with opened(chromium, served, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
            assert not violations(page)
            assert "x.mp4: is damaged, cut off, or no video" in problem(page, text)
            assert not violations(page)
            upload(page, film)
            page.click("#models summary")
            page.click("#explain")
            page.wait_for_selector("#marks:not([hidden])")
            assert not violations(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_tab_and_enter_suffice(chromium: Any, served: Served, clips_dir: Path) -> None:
    """With a film that Chromium does not play, too."""
    with opened(chromium, served) as page:

        def tab_to(selector: str) -> None:
            for _ in range(40):
                page.keyboard.press("Tab")
                if page.evaluate("s => document.activeElement.matches(s)", selector):
                    return
            raise AssertionError(f"Tab never comes to {selector}")

        # there before Enter is pressed: what waits for it only then may come too late
        page.on("filechooser", lambda chooser: chooser.set_files(clips_dir / "v_SoccerJuggling_g23_c01.avi"))
        tab_to("#film")
        page.keyboard.press("Enter")
        page.wait_for_selector("#result:not([hidden])")
        page.wait_for_selector("#unplayable:not([hidden])")
        tab_to("#task")
        tab_to("#moment")
        page.keyboard.press("End")
        assert marker(page) == pytest.approx(float(page.get_attribute("#moment", "max")))
        assert "%" in page.get_attribute("#moment", "aria-valuetext")
        assert (
            page.evaluate("getComputedStyle(document.getElementById('tracks')).outlineStyle") == "solid"
        )  # focus is seen
        tab_to("#segments button")
        page.keyboard.press("Enter")
        assert marker(page) < 5 and page.locator("#segments button").first.get_attribute("aria-current") == "true"


def test_ten_at_once_behind_a_film_that_hangs(chromium: Any, served: Served, tmp_path: Path) -> None:
    films = [write_video(tmp_path / f"{number}.mp4", num_frames=40 + 5 * number) for number in range(10)]
    with opened(chromium, served) as first, ExitStack() as others:
        first.set_input_files("#film", write_video(tmp_path / "hangs.mp4", num_frames=31))
        first.wait_for_selector("#status:text('is being looked at')")
        pages = [others.enter_context(opened(chromium, served)) for _ in films]
        for page, film in zip(pages, films, strict=True):
            page.set_input_files("#film", film)
            wait_for(page, "/before it|wait already/.test(document.querySelector('.state').textContent)")
        assert pages[8].text_content("#status") == "8.mp4 waits: 9 films are before it"
        assert pages[9].text_content("#problem").startswith("9.mp4: 9 films wait already")
        assert len(list(served.uploads.glob("videoadapt-page-*/*"))) == 10
        first.click("#stop")  # nobody waits for the film that hangs
        for page, film in zip(pages[:9], films[:9], strict=True):
            page.wait_for_selector("#result:not([hidden])")
            assert page.text_content("#name") == film.name
            assert float(page.get_attribute("#moment", "max")) == pytest.approx((40 + 5 * films.index(film)) / 25)
        assert first.is_hidden("#result") and first.is_hidden("#stop") and not first.text_content("#problem")
    assert not uploads(served)


def test_a_film_that_ends_the_decoder(chromium: Any, served: Served, tmp_path: Path) -> None:
    with opened(chromium, served) as page:
        said = problem(page, write_video(tmp_path / "deadly.mp4", num_frames=30))
        assert said.startswith(
            "deadly.mp4: the process that worked on it was killed by SIGSEGV: the film is probably damaged"
        )
        good = write_video(tmp_path / "good.mp4", num_frames=40)
        upload(page, good)
        assert page.text_content("#status").startswith("Done: ") and not page.text_content("#problem")
        os.kill(descendants(served.process.pid)[-1], signal.SIGKILL)  # while it has nothing to do: no film's fault
        upload(page, good)


def test_ctrl_c_leaves_nothing_behind(served: Served) -> None:
    """The last one: the page is gone then."""
    others = descendants(served.process.pid)
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(timeout=60) == 130
    said = served.log.read_text()
    assert said.splitlines()[-1] == "stopped" and "Traceback" not in said, said
    assert not list(served.uploads.iterdir())
    deadline = time.monotonic() + 60
    while not all(map(is_gone, others)):
        assert time.monotonic() < deadline, "processes are left behind"
        time.sleep(0.05)
