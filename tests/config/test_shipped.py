"""Shipped configs are found by name, and their lists from any folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.toy_runs import REPOSITORY, environment
from videoadapt.cli import train
from videoadapt.config.loading import load_config
from videoadapt.config.shipped import config_names, find_config, find_list, shipped_folder
from videoadapt.errors import ConfigError
from videoadapt.slurm.snapshot import snapshot
from videoadapt.sweeps.plan import Sweep

RUNS = [name for name in config_names() if "/" not in name]
SWEEPS = [name for name in config_names() if name.startswith("sweeps/")]
LIST = "data_lists/hmdb51/test_split1.csv"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_clone_ships_what_stands_in_it() -> None:
    assert shipped_folder("configs") == REPOSITORY / "configs"
    assert {"hmdb51_adapt", "quickstart", "sweeps/methods", "method/lora", "data/ssv2"} < set(config_names())


@pytest.mark.parametrize("name", RUNS)
def test_a_name_means_the_same_from_any_folder(name: str, elsewhere: Path) -> None:
    by_name = load_config(name)
    assert by_name == load_config(REPOSITORY / "configs" / f"{name}.yaml")
    for path in (by_name.output, by_name.data.root, *filter(None, [by_name.data.train, by_name.data.test])):
        assert not Path(path).is_absolute()  # config.yaml reads alike on every machine


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_have_names_too(name: str, elsewhere: Path) -> None:
    assert Sweep(Path(name)).cells[0].base.samefile(Sweep(REPOSITORY / "configs" / f"{name}.yaml").cells[0].base)


def test_lists_are_found_from_any_folder(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--cfg", "hmdb51_adapt"]) == 2
    shown = capsys.readouterr().err
    assert "1530 of the 1530 videos of data.test are not there" in shown and "model.weights = " in shown
    assert "data.train = " not in shown and "data.classes" not in shown
    assert train.main(["--cfg", "k400_adapt"]) == 2  # its lists are made by who has the videos
    assert "data.train = data_lists/kinetics400/train.csv: " in capsys.readouterr().err


def test_a_list_that_is_here_comes_first(elsewhere: Path) -> None:
    assert find_list(LIST) == REPOSITORY / LIST
    assert find_list("lists/mine.csv") == Path("lists/mine.csv")
    assert find_list("data_lists/mine.csv") == Path("data_lists/mine.csv")
    (elsewhere / LIST).parent.mkdir(parents=True)
    (elsewhere / LIST).touch()
    assert find_list(LIST) == Path(LIST)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (
            "hmdb51_adpt",
            "hmdb51_adpt: neither a file nor a shipped config; did you mean 'hmdb51_adapt'? allowed: ",
        ),
        ("sweeps/method", "did you mean 'sweeps/methods'? allowed: sweeps/abl"),
        ("configs/ssv2_adapt", "did you mean 'ssv2_adapt'? "),
        ("configs/ssv2_adapt.yaml", "there is no such file here; the shipped config has the name ssv2_adapt"),
        ("configs/sweeps/smoke.yaml", "the shipped config has the name sweeps/smoke"),
        ("mine.yaml", "mine.yaml: cannot be read: "),
    ],
)
def test_a_name_that_is_none(name: str, complaint: str, elsewhere: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(name)
    assert complaint in str(error.value)


def test_a_file_of_that_name_comes_first(elsewhere: Path) -> None:
    (elsewhere / "quickstart").write_text("output: outputs/mine\n")
    assert find_config("quickstart") == Path("quickstart")
    assert load_config("quickstart").output == Path("outputs/mine")


def test_a_runs_folder_is_told_its_config(elsewhere: Path) -> None:
    (elsewhere / "outputs/mine").mkdir(parents=True)
    (elsewhere / "outputs/mine/config.yaml").touch()
    with pytest.raises(ConfigError, match=r"outputs/mine: is a run's folder; its config is outputs/mine/config\.yaml$"):
        find_config("outputs/mine")


def test_a_yaml_of_ones_own_builds_on_names(elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").write_text("_BASE_: [method/lora, data/ucf101]\noutput: outputs/mine\n")
    config = load_config("mine.yaml")
    assert config.data.root == Path("data/ucf101") and config.model.adapter["name"] == "lora"  # type: ignore[call-overload]
    (elsewhere / "mine.yaml").write_text("_BASE_: quikstart\noutput: outputs/mine\n")
    with pytest.raises(ConfigError, match="quikstart: neither a file nor a shipped config; did you mean 'quickstart'"):
        load_config("mine.yaml")
    (elsewhere / "sweep.yaml").write_text("base: quickstart\noutput: outputs/s\naxes: {seed: [0]}\n")
    with pytest.raises(ConfigError, match="seed: is set for each cell"):
        Sweep(elsewhere / "sweep.yaml")


def test_a_job_finds_the_lists_of_its_submission(elsewhere: Path) -> None:
    code = snapshot(elsewhere / "code")
    show = f"from videoadapt.config.shipped import find_list; print(find_list({LIST!r}))"
    environ = environment() | {"PYTHONPATH": str(code)}
    done = subprocess.run([sys.executable, "-c", show], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(code / LIST) and (code / LIST).read_bytes() == (REPOSITORY / LIST).read_bytes()
