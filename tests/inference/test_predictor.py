"""A trained run asked about files and about frames, one or many: the same numbers by every door."""

import inspect
import json
import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.media import write_video
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import demo
from videoadapt.config.loading import load_config
from videoadapt.errors import CheckpointError, ConfigError, DecodeError
from videoadapt.inference.adapter_bank import AdapterBank
from videoadapt.inference.many import READ_AHEAD_FROM
from videoadapt.inference.predictor import Prediction, Predictor
from videoadapt.inference.videos import PartOfVideo
from videoadapt.training.execution import execute
from videoadapt.video.decoders import open_video


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short run whose frames are made smaller first, and kept; its clips lie beside it."""
    folder = tmp_path_factory.mktemp("predictor")
    (folder / "clips").symlink_to(clips)
    small = {"short_side_px": 40, "cache": str(folder / "cache/")}
    config = toy_config(folder / "run", folder / "clips", data=small, train={"epochs": 1})
    execute(load_config(write_config(folder / "c.yaml", config)))
    return folder / "run"


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor.from_run(str(run), "cpu")


@pytest.fixture(scope="module")
def files(run: Path) -> list[Path]:
    return sorted((run.parent / "clips/test").glob("*/*.mp4"))[::3]


def all_frames(file: Path) -> np.ndarray:
    with open_video(file) as video:
        return video[:]


def by_the_demo(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[Prediction]:
    capsys.readouterr()
    assert demo.main([*map(str, arguments), "--json", "--device", "cpu"]) == 0
    return [Prediction(**one) for one in json.loads(capsys.readouterr().out)["predictions"]]


def test_run_adapter_and_demo_agree(
    run: Path, predictor: Predictor, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = run / "adapter.safetensors"
    by_adapter = Predictor.from_adapter(str(adapter), device=torch.device("cpu"))
    assert by_adapter.class_names == predictor.class_names == (run / "classes.txt").read_text().split()
    for file in files[:2]:
        predictions = predictor.predict(str(file))
        assert predictions == by_adapter.predict(file)
        assert predictions == by_the_demo(capsys, file, "--run", run) == by_the_demo(capsys, file, "--adapter", adapter)
        assert len(predictions) == 5 and predictions == sorted(predictions, key=lambda p: -p.probability)
    assert predictor.predict(files[0]) != predictor.predict(files[1])


def test_scores_are_those_of_the_test(run: Path, predictor: Predictor, files: list[Path]) -> None:
    saved = np.load(run / "predictions.npz")
    rows = {str(name): row for row, name in enumerate(saved["video_id"])}
    for file in files:
        logits_K = predictor.logits(file)
        row = rows[str(file.relative_to(run.parent / "clips"))]
        np.testing.assert_allclose(logits_K, saved["scores"][row], rtol=0, atol=1e-5)
        every = {p.label: p.probability for p in predictor.predict(file, top=100)}
        expected_K = logits_K.double().softmax(0)
        assert [every[label] for label in range(8)] == pytest.approx(expected_K.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    "make", [np.asarray, torch.from_numpy, lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1]]
)
def test_frames_are_as_good_as_their_file(make, predictor: Predictor, files: list[Path]) -> None:
    frames_NHWC = make(all_frames(files[0]))
    assert predictor.predict(frames_NHWC) == predictor.predict(files[0])
    assert torch.equal(predictor.features(frames_NHWC), predictor.features(files[0]))


def test_several_videos_in_their_order(predictor: Predictor, files: list[Path]) -> None:
    alone = [predictor.predict(file) for file in files]
    assert predictor.predict(files) == predictor.predict(tuple(map(str, files))) == alone
    assert predictor.predict(file for file in files) == alone
    assert predictor.predict([all_frames(files[1]), files[0]]) == [alone[1], alone[0]]
    assert predictor.predict([]) == []
    for ask in (predictor.features, predictor.logits):
        assert all(torch.equal(answer, ask(file)) for answer, file in zip(ask(files), files, strict=True))


def test_each_of_many_files_has_an_answer_or_a_reason(
    predictor: Predictor, files: list[Path], tmp_path: Path, log_lines: list[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    videos = [*files, broken, f"{files[0]}#t=2,1", tmp_path / "gone.mp4", *files[:2]]
    passes: list[int] = []
    hook = predictor.model.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    with pytest.raises(TypeError, match="expected a list of files; `predict` takes one"):
        list(predictor.predict_each(str(videos[0])))
    said = list(predictor.predict_each(videos, top=8))
    hook.remove()
    assert [one.video for one in said] == list(map(str, videos))
    bad = said[len(files) : len(files) + 3]
    assert all(one.error and not one.predictions for one in bad)
    assert [str(broken) in bad[0].error, "end_sec = 1" in bad[1].error, "No such file" in bad[2].error] == [True] * 3
    for one, file in zip([*said[: len(files)], *said[-2:]], [*files, *files[:2]], strict=True):
        alone = {p.label: p.probability for p in predictor.predict(file, top=8)}
        assert {p.label: p.probability for p in one.predictions} == pytest.approx(alone, abs=1e-6)
    assert max(passes) == 24 and sum(passes) == 6 * (len(files) + 2)  # test.batch_size: four videos of six views


@pytest.mark.slow
def test_many_files_are_read_ahead(predictor: Predictor, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = list(predictor.predict_each(files))
    data = predictor.config.data.model_copy(update={"workers": 2})
    monkeypatch.setattr(predictor, "config", predictor.config.model_copy(update={"data": data}))
    ahead = list(predictor.predict_each(files * 3))
    assert len(files) * 3 >= READ_AHEAD_FROM and [one.video for one in ahead] == list(map(str, files * 3))
    for one, other in zip(ahead, alone * 3, strict=True):
        assert [p.name for p in one.predictions] == [p.name for p in other.predictions]


def test_features_can_be_trained_on(predictor: Predictor, files: list[Path]) -> None:
    feature_D = predictor.features(files[0])
    assert feature_D.shape == (32,) and feature_D.dtype == torch.float32
    probe = torch.nn.Linear(32, 2)
    probe(feature_D).sum().backward()  # a tensor of torch.inference_mode could not be saved for this
    assert torch.equal(probe.weight.grad[0], feature_D)


def test_nothing_is_kept_of_a_video_asked_about(run: Path, predictor: Predictor, tmp_path: Path) -> None:
    kept = sorted((run.parent / "cache").rglob("*.npy"))
    predictor.predict(write_video(tmp_path / "new.mp4"))
    assert kept and sorted((run.parent / "cache").rglob("*.npy")) == kept


def test_opening_leaves_the_generators_alone(run: Path) -> None:
    state = torch.get_rng_state()
    for open_one in (Predictor.from_run, Predictor.from_config, Predictor.from_adapter):
        path = {"from_run": run, "from_config": run / "config.yaml"}.get(open_one.__name__, run / "adapter.safetensors")
        open_one(path, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)


FRAMES = np.zeros((8, 48, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("video", "error", "said"),
    [
        (FRAMES / 255, ConfigError, "^video: frames of type float64; expected .* uint8"),
        (torch.zeros(8, 48, 64, 3), ConfigError, "^video: frames of type float32"),
        (FRAMES.transpose(0, 3, 1, 2), ConfigError, r"^video: frames of shape \(8, 3, 48, 64\); .*\(N, H, W, 3\)"),
        (FRAMES[0], ConfigError, r"^video: frames of shape \(48, 64, 3\)"),
        (FRAMES[:0], ConfigError, r"^video: frames of shape \(0, 48, 64, 3\)"),
        (FRAMES[..., :1].astype(int), ConfigError, r"(?s)frames of type int64.*frames of shape \(8, 48, 64, 1\)"),
        (3, TypeError, "^video: int is neither a file"),
        (None, TypeError, "^video: NoneType is neither"),
        ([FRAMES, FRAMES[0]], ConfigError, r"^video\[1\]: frames of shape \(48, 64, 3\)"),
        ([FRAMES, [FRAMES]], TypeError, r"^video\[1\]: list is neither"),
    ],
)
def test_what_is_no_video(video: object, error: type[Exception], said: str, predictor: Predictor) -> None:
    for ask in (predictor.predict, predictor.features, predictor.logits):
        with pytest.raises(error, match=said):
            ask(video)


def test_files_that_cannot_be_read(predictor: Predictor, files: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    with pytest.raises(DecodeError, match=f"^{damaged}: "):
        predictor.predict(damaged)
    with pytest.raises(DecodeError, match=f"^{damaged}: "):
        predictor.predict([files[0], damaged])
    gone = [tmp_path / "gone.mp4", tmp_path / "lost.mp4"]
    with pytest.raises(DecodeError) as raised:  # all of them, and before the damaged one is decoded
        predictor.predict([damaged, gone[0], files[0], gone[1]])
    lines = str(raised.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == list(map(str, gone))


@pytest.mark.parametrize(("top", "error"), [(0, ConfigError), (-1, ConfigError), ("5", TypeError), (2.0, TypeError)])
def test_how_many_classes(top: object, error: type[Exception], predictor: Predictor, files: list[Path]) -> None:
    assert len(predictor.predict(files[0], top=3)) == 3 and len(predictor.predict(files[0], top=99)) == 8
    with pytest.raises(error, match=f"^top = {top!r}: "):
        predictor.predict(files[0], top=top)


def test_a_config_gives_features_only(run: Path, files: list[Path]) -> None:
    untrained = Predictor.from_config(str(run / "config.yaml"), "cpu")
    assert untrained.features(files[0]).shape == (32,)
    for ask in (untrained.predict, untrained.logits):
        with pytest.raises(ConfigError, match="no trained head"):
            ask(files[0])


def test_weights_that_are_not_there(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"^weights = '{tmp_path}/none.pth': no such file or folder"):
        Predictor.from_adapter(run / "adapter.safetensors", tmp_path / "none.pth", "cpu")


def test_a_run_whose_weights_are_elsewhere_now(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    spec = yaml.safe_load((copy / "config.yaml").read_text())
    spec["model"] |= {"weights": f"{tmp_path}/none.pth", "obtain": "from its page"}
    (copy / "config.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(CheckpointError) as error:
        Predictor.from_run(copy, "cpu")
    assert str(error.value) == (
        f"{copy}/config.yaml: model.weights = {tmp_path}/none.pth: no such file; from its page; set it to where that "
        f"is now, or load {copy}/adapter.safetensors with it as `weights`"
    )


def test_weights_that_do_not_fit_are_named_by_the_argument(run: Path, tmp_path: Path) -> None:
    adapter, other = run / "adapter.safetensors", tmp_path / "other.pth"
    torch.save({"model": {"blocks.0.norm1.weight": torch.zeros(3)}}, other)
    (tmp_path / "text.pth").write_text("no weights")
    for weights in (other, tmp_path / "text.pth"):
        for open_one in (Predictor.from_adapter, lambda path, given: AdapterBank.from_files([path], given)):
            with pytest.raises(CheckpointError, match=rf"^weights = {weights}[: ]"):
                open_one(adapter, weights)


def test_what_a_predictor_says_of_itself(predictor: Predictor) -> None:
    assert repr(predictor) == "<Predictor: vit, adaptformer, 8 classes, on cpu>"


def test_a_part_of_a_film(predictor: Predictor, tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", num_frames=60)  # 25 a second
    with open_video(film) as video:
        frames_NHWC = video.get(range(10, 40))
    expected = predictor.logits(frames_NHWC)
    assert torch.equal(predictor.logits(film, start_sec=0.4, end_sec=1.6), expected)
    assert torch.equal(predictor.logits(f"{film}#t=0.4,1.6"), expected)
    assert not torch.equal(predictor.logits(film), expected)
    both = predictor.predict([film, film], start_sec=0.4, end_sec=1.6)
    assert both == [predictor.predict(f"{film}#t=0.4,1.6")] * 2
    whole = predictor.features(film, start_sec=0.4)
    assert torch.equal(whole, predictor.features(f"{film}#t=0.4"))
    film.rename(tmp_path / "film.mp4#t=0.4,1.6")  # now this is the name of a file
    named = predictor.logits(tmp_path / "film.mp4#t=0.4,1.6", start_sec=0.4, end_sec=1.6)
    assert torch.equal(named, expected)


@pytest.mark.parametrize("name", ["predict", "logits", "features", "explain", "timeline"])
def test_keywords_of_a_part_are_shown_and_no_others_are_taken(name: str, predictor: Predictor) -> None:
    shown = inspect.signature(getattr(predictor, name)).parameters
    assert [key for key in shown if key in PartOfVideo.__annotations__] == ["fps_hz", "start_sec", "end_sec"]
    assert all(given.kind is not given.VAR_KEYWORD for given in shown.values())
    with pytest.raises(TypeError, match="unexpected keyword argument 'start'"):
        getattr(predictor, name)("film.mp4", start=1.0)


def test_parts_that_cannot_be(predictor: Predictor, tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", num_frames=25)
    with pytest.raises(ConfigError, match="end_sec = 1: allowed: above start_sec = 2"):
        predictor.predict(film, start_sec=2, end_sec=1)
    with pytest.raises(ConfigError, match="its name says which part, and start_sec or end_sec too"):
        predictor.predict(f"{film}#t=0.1", end_sec=1)
    with pytest.raises(DecodeError, match=r"start_sec = 7: the film ends at 1\.000 s"):
        predictor.predict(f"{film}#t=7")
    with pytest.raises(ConfigError, match="end_sec = 1: allowed: above start_sec = 2"):
        predictor.predict([], start_sec=2, end_sec=1)
    with pytest.raises(DecodeError, match=r"^nowhere\.mp4: No such file or directory$"):
        predictor.predict(["nowhere.mp4#t=1,2"])


def _first(model: Predictor, file: Path) -> Prediction:
    return model.predict(file)[0]


def test_a_model_goes_to_a_process_of_its_own(predictor: Predictor, files: list[Path]) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_first, (predictor, files[0])) == predictor.predict(files[0])[0]
    again = pickle.loads(pickle.dumps(predictor))
    assert torch.equal(again.features(files[0]), predictor.features(files[0]))


def test_a_compiled_model_says_why_it_stays(run: Path) -> None:
    with pytest.raises(ConfigError, match="compile = True: a compiled model cannot be pickled"):
        pickle.dumps(Predictor.from_run(run, "cpu", compile=True))


def test_a_run_that_was_only_tested_is_opened(run: Path, files: list[Path], tmp_path: Path) -> None:
    """Its head is in `model.weights`; where that has none for its classes, a checkpoint is missing."""
    weights, only = run / "checkpoints/step_00000006.pt", tmp_path / "only"
    told = [f"output={only}", f"model.weights={weights}", "train.enable=false"]
    execute(load_config(run / "config.yaml", told))
    assert Predictor.from_run(only, "cpu").predict(files[0]) == Predictor.from_run(run, "cpu").predict(files[0])
    config = yaml.safe_load((only / "config.yaml").read_text())
    config["model"]["weights"] = None
    (only / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="only/checkpoints: holds no checkpoint; train first"):
        Predictor.from_run(only, "cpu")
