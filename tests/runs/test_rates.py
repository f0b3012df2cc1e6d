"""The frame rates that a model was trained on: counted, carried by every file that leaves a run, and other ones said once."""

import json
import logging
import shutil
from pathlib import Path

import av
import pytest
import torch
from safetensors import safe_open

from tests.toy_runs import toy_config, write_config
from videoadapt.api import load
from videoadapt.cli import demo, export
from videoadapt.config.loading import load_config
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.inference.adapter_bank import AdapterBank
from videoadapt.inference.features import write_features
from videoadapt.inference.predictor import Predictor
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.build_data import build_view_reader
from videoadapt.runs.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from videoadapt.runs.rates import OtherRates, Rates, trained_rates
from videoadapt.training.execution import execute

TRAINED = {"lowest_hz": 12.0, "median_hz": 12.0, "highest_hz": 12.0, "clips": {"12": 96}}  # two epochs of 48 videos
FAR = (
    "4 of 16 videos have 48 frames a second, and the training's had 12: data.sampling counts frames, so that they look slower "
    "or faster than those did; "
)
SAID = f"{FAR}to see them as it did: --fps-hz 12 of demo and segment, in Python va.load(..., fps_hz=12)"


def of(*rates_hz: float) -> Rates:
    rates = Rates()
    rates.note(rates_hz)
    return rates


def test_rates_are_counted_to_two_digits() -> None:
    rates = of(29.97, 30.0, 30.02, 24000 / 1001, 120.0, 0.25)
    assert rates.as_dict() == {
        "lowest_hz": 0.25, "median_hz": 30.0, "highest_hz": 120.0, "clips": {"0.25": 1, "24": 1, "30": 3, "120": 1}
    }  # fmt: skip
    assert Rates.read(json.loads(json.dumps(rates.as_dict()))).as_dict() == rates.as_dict()
    assert str(rates) == "0.25 to 120 (half of them up to 30)" and str(of(25, 25.0)) == "25"
    assert not Rates() and Rates.read({}).as_dict() == Rates().as_dict() == {}


def test_far_is_beyond_what_all_but_a_few_had() -> None:
    rates = of(*[24] * 60, *[30] * 39, 240)
    assert [rate for rate in (15.9, 16, 24, 45, 45.1, 240) if rates.are_far_from(rate)] == [15.9, 45.1, 240]
    assert not Rates().are_far_from(1e6)


@pytest.mark.parametrize("broken", [{"clips": [12]}, {"clips": {"12": None}}, {"clips": {"slow": 3}}])
def test_counts_that_are_none_are_refused(broken: dict) -> None:
    with pytest.raises(ValueError):
        Rates.read(broken)


def test_only_a_sampler_that_counts_frames_feels_a_rate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    silent = ["data.sampling.name segment", "data.sampling.fps_hz 12", "data.sampling.stride_sec 0.5"]
    for words, number in [*((text.split(), 0) for text in silent), ([], 1)]:
        (tmp_path / "x.yaml").write_text("output: o\n")
        other = OtherRates(load_config(tmp_path / "x.yaml", words).data, of(12.0))
        for rate in (12.0, 17.0, None, 48.0):
            other.note(rate)
        other.say()
        other.say()
        assert (other.num_far, len(caplog.records)) == (number, number), words


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on clips of 12 frames a second; a quarter of the test clips, beside it in `mixed`, are written at 48."""
    folder = tmp_path_factory.mktemp("rates")
    (folder / "clips").symlink_to(clips)
    execute(load_config(write_config(folder / "c.yaml", toy_config(folder / "run", folder / "clips"))))
    rows = (folder / "clips/test.csv").read_text().splitlines()
    for number, row in enumerate(rows):
        name = row.rsplit(" ", 1)[0]
        (folder / "mixed" / name).parent.mkdir(parents=True, exist_ok=True)
        (four_times if number < 4 else shutil.copy)(folder / "clips" / name, folder / "mixed" / name)
    (folder / "mixed.csv").write_text("\n".join(rows) + "\n")
    return folder / "run"


def four_times(source: Path, target: Path) -> None:
    """Write a film again with each frame four times, as long as it was."""
    with av.open(str(source)) as video, av.open(str(target), "w") as container:
        shape = video.streams.video[0]
        stream = container.add_stream("libx264", rate=12 * 4, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = shape.height, shape.width, "yuv420p"
        for frame in video.decode(video=0):
            for _ in range(4):
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24"))
                )
        container.mux(stream.encode())


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_every_file_that_leaves_a_run_says_its_rates(run: Path, tmp_path: Path) -> None:
    assert trained_rates(run).as_dict() == json.loads((run / "rates.json").read_text()) == TRAINED
    assert read_adapter(run / "adapter.safetensors").rates.as_dict() == TRAINED
    tested = {**TRAINED, "clips": {"12": 16}}
    found = json.loads((run / "results.json").read_text())["frame_rates"]
    assert found == {"trained": TRAINED, "tested": tested, "num_other": 0}
    out = tmp_path / "m.pt2"
    assert export.main([str(out), "--run", str(run)]) == 0
    files = {"rates": ""}
    torch.export.load(out, extra_files=files)
    assert json.loads(files["rates"]) == TRAINED


def test_resuming_goes_on_counting(run: Path, tmp_path: Path) -> None:
    config = load_config(
        run / "config.yaml", {"output": tmp_path / "run", "train.checkpoint_every_steps": 5, "test.enable": False}
    )
    execute(config)
    list_checkpoints(tmp_path / "run")[0].unlink()
    assert trained_rates(tmp_path / "run").as_dict()["clips"]["12"] < 96
    execute(config)
    assert trained_rates(tmp_path / "run").as_dict() == TRAINED


def mixed(run: Path, folder: Path, **more: object) -> tuple[dict, list[str]]:
    """Results of the run's checkpoint on `mixed`, and what its log warns of about rates."""
    folder.mkdir()
    for name in ("checkpoints", "classes.txt"):
        (folder / name).symlink_to(run / name)
    lists = {"train": run.parent / "clips/train.csv", "test": run.parent / "mixed.csv", "classes": run / "classes.txt"}
    changes = {f"data.{key}": str(path) for key, path in lists.items()}
    changes |= {"data.dataset": {"name": "video_list"}, "data.root": run.parent / "mixed", "output": folder}
    _, results = execute(load_config(run / "config.yaml", {**changes, "train.enable": False, **more}))
    assert results is not None
    lines = (folder / "run.log").read_text().splitlines()
    return results, [line.split("WARNING ")[1] for line in lines if "WARNING" in line and "a second" in line]


def test_a_test_says_other_rates_once_and_the_key(run: Path, tmp_path: Path) -> None:
    results, said = mixed(run, tmp_path / "tested")
    assert said == [f"{FAR}set data.sampling.fps_hz 12 to see them as it did"]
    assert results["frame_rates"]["num_other"] == 4
    assert results["frame_rates"]["tested"]["clips"] == {"12": 12, "48": 4}


def test_with_the_key_nothing_is_left_to_say(run: Path, tmp_path: Path) -> None:
    results, said = mixed(run, tmp_path / "tested", **{"data.sampling.fps_hz": 12})
    assert said == [] and results["frame_rates"]["num_other"] == 0
    assert results["other_than_trained"]["data.sampling.fps_hz"] == {"trained": None, "tested": 12.0}


def test_a_checkpoint_of_before_is_read_silently(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = tmp_path / "old"
    (old / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "classes.txt"):
        (old / name).write_bytes((run / name).read_bytes())
    newest = list_checkpoints(run)[0]
    state = load_checkpoint(newest)
    del state["rates"]
    save_checkpoint(old / "checkpoints" / newest.name, state)
    assert not trained_rates(old)
    Predictor.from_run(old, "cpu").predict(next((run.parent / "mixed").glob("*/*/*.mp4")))
    assert warned(caplog) == []


def films(run: Path) -> list[Path]:
    return [run.parent / "mixed" / row.rsplit(" ", 1)[0] for row in (run.parent / "mixed.csv").read_text().splitlines()]


@pytest.mark.parametrize("source", ["run", "adapter"])
def test_predictions_say_it_once_with_the_count(run: Path, source: str, caplog: pytest.LogCaptureFixture) -> None:
    path = run if source == "run" else run / "adapter.safetensors"
    predictor = load(path, device="cpu")
    predictor.predict(films(run))
    predictor.predict(films(run)[:2])
    assert warned(caplog) == [SAID]
    caplog.clear()
    by_time, at_48 = load(path, device="cpu", fps_hz=12), films(run)[0]
    by_time.predict(films(run))
    assert warned(caplog) == []
    plain, seen, counted = (views(one, file) for one, file in (
        (predictor, run.parent / "clips" / at_48.relative_to(run.parent / "mixed")), (by_time, at_48), (predictor, at_48)
    ))  # fmt: skip
    assert (seen - plain).abs().mean() < 2 < 6 < (counted - plain).abs().mean()
    with pytest.raises(ConfigError, match=r"data.sampling.fps_hz = -1"):
        load(path, device="cpu", fps_hz=-1)


def views(predictor: Predictor, file: Path) -> torch.Tensor:
    test = predictor.config.test
    return build_view_reader(predictor.config.data, test.clips, test.crops)(file).float()


def test_frames_in_memory_have_the_rate_that_is_said(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictor = Predictor.from_run(run, "cpu", fps_hz=12)
    file = films(run)[0]
    with av.open(str(file)) as video:
        frames = torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")) for f in video.decode(video=0)])
    assert predictor.logits(frames, fps_hz=48).equal(predictor.logits(file))
    with pytest.raises(ConfigError, match="fps_hz: this model looks at videos by time"):
        predictor.predict(frames)
    with pytest.raises(ConfigError, match="fps_hz = 0: allowed: above 0"):
        predictor.predict(frames, fps_hz=0)


def test_the_demo_says_it_after_the_last_film(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapter = str(run / "adapter.safetensors")
    for source in (["--run", str(run)], ["--adapter", adapter], ["--adapter", adapter, "--adapter", adapter]):
        for more, expected in ([], [SAID]), (["--fps-hz", "12"], []):
            caplog.clear()
            assert demo.main([*map(str, films(run)), *source, "--device", "cpu", *more]) == 0
            assert warned(caplog) == expected, source


def test_a_film_that_is_drawn_on_is_counted_once(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert demo.main([str(films(run)[0]), "--run", str(run), "--device", "cpu", "--out", str(tmp_path / "x.mp4")]) == 0
    assert warned(caplog) == [SAID.replace("4 of 16", "1 of 1")]


def test_features_say_it(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    predictor = Predictor.from_run(run, "cpu")
    predictor.config = predictor.config.model_copy(
        update={"data": predictor.config.data.model_copy(update={"dataset": {"name": "video_list"}})}
    )
    write_features(predictor, str(run.parent / "mixed.csv"), run.parent / "mixed", 1, 1, tmp_path / "f.npz")
    assert warned(caplog) == [SAID]


def test_a_bank_takes_the_first_ones_rates(run: Path) -> None:
    bank = AdapterBank.from_files([run / "adapter.safetensors"])
    bank.other_rates.note(48.0)
    assert bank.other_rates.num_far == 1


def test_damaged_rates_of_an_adapter_are_named(run: Path, tmp_path: Path) -> None:
    from videoadapt.weights.files import safetensors_bytes

    with safe_open(run / "adapter.safetensors", framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(tensors, metadata | {"rates": '{"clips": [1]}'}))
    with pytest.raises(CheckpointError, match="rates are not counts of clips"):
        read_adapter(tmp_path / "a.safetensors")
