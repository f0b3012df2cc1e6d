"""The config: every problem is listed at once, with the key, the value and what is allowed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from videoadapt.config.loading import dump_config, load_config
from videoadapt.config.overrides import parse_overrides
from videoadapt.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.yaml"))


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_loads_and_survives_saving(name: str, tmp_path: Path) -> None:
    config = load_config(REPOSITORY / "configs" / name)
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


def test_outputs_of_shipped_configs_differ() -> None:
    outputs = [load_config(REPOSITORY / "configs" / name).output for name in CONFIGS]
    assert len(set(outputs)) == len(outputs)


def test_all_problems_at_once_with_suggestions(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "output: o\nmodle: 1\ntrain: {epoch: 3, precision: half, batch_size: many}\n"
        "model: {adapter: {name: adaptformer, botleneck: 8}, backbone: {name: vitt}}\n"
        "data: {sampling: {name: dense, stride_frame: 4}, val: {holdout: 2.0}, decoder: {name: decord, threads: none}}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    text = str(caught.value)
    for expected in (
        "modle: unknown key; did you mean 'model'?",
        "train.epoch: unknown key; did you mean 'epochs'?",
        "train.precision = 'half'",
        "train.batch_size = 'many'",
        "model.adapter.botleneck: unknown key; did you mean 'bottleneck'?",
        "model.backbone.name = 'vitt': did you mean 'vit'?",
        "data.sampling.stride_frame: unknown key; did you mean 'stride_frames'?",
        "data.val.holdout = 2.0",
        "data.decoder.threads = 'none'",
    ):
        assert expected in text, f"{expected!r} is not in\n{text}"
    assert len(caught.value.problems) == 9, text


def test_true_is_no_number(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "output: o\nseed: true\noptim: {lr_per_256: true}\ndata: {workers: false, crop_px: [true, 224], "
        "sampling: {name: dense, stride_frames: true}}\n"
        "model: {adapter: {name: adaptformer, scale: true}}\ntrain: {enable: true, compile: true}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    said = [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]
    assert sorted(said) == [
        "data.crop_px = [True, 224]: a number is expected",
        "data.sampling.stride_frames = True: a number is expected",
        "data.workers = False: a number is expected",
        "model.adapter.scale = True: a number is expected",
        "optim.lr_per_256 = True: a number is expected",
        "seed = True: a number is expected",
    ]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("{name: polynomial, power: true}", "power = True"),
        ("{name: step, milestones_epochs: [true, 3]}", "milestones_epochs = [True, 3]"),
    ],
)
def test_true_is_no_number_of_a_schedule(schedule: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{said}: a number is expected")):
        load_config(write(tmp_path, f"output: o\noptim: {{schedule: {schedule}}}\n"))


def test_numbers_and_names_that_nothing_can_use(tmp_path: Path) -> None:
    """Each of these once came to light in the middle of a run, as a traceback."""
    path = write(
        tmp_path,
        'output: "o\\0"\nseed: 18446744073709551616\ndata: {root: "a\\0", cache_gb: .inf, limit_sec: 1e12, short_side_px: 1,\n'
        f"  augment: {{repeated: {10**20}}}, rendered: {{motions: trunk, clips_per_epoch: {10**20}}}}}\n"
        "optim: {name: adamw, betas: [0.9, 1.0], weight_decay: .nan}\nmodel: {adapter: {name: adaptformer, scale: .inf}}\n"
        f"train: {{epochs: {10**20}, least_updates: {10**20}}}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    said = [problem.removeprefix(f"{path}: ").partition(" = ") for problem in caught.value.problems]
    assert {key: reason.partition(": ")[2] for key, _, reason in said} == {
        "output": "holds a null byte, which no name of a file can",
        "seed": "input should be less than 18446744073709551616",
        "data.root": "holds a null byte, which no name of a file can",
        "data.cache_gb": "input should be a finite number",
        "data.limit_sec": "input should be less than or equal to 86400",
        "data.short_side_px": "input should be greater than or equal to 2",
        "data.augment.repeated": "input should be less than or equal to 1000",
        "data.rendered.clips_per_epoch": "input should be less than or equal to 1000000000",
        "optim.betas.1": "input should be less than 1",
        "optim.weight_decay": "input should be a finite number",
        "train.epochs": "input should be less than or equal to 1000000000",
        "train.least_updates": "input should be less than or equal to 1000000000",
        "model.adapter.scale": "input should be a finite number, or input should be 'learnable'",
    }


def test_scalars_are_read_as_yaml_1_2(tmp_path: Path) -> None:
    path = write(tmp_path, "output: no\nseed: 010\noptim: {lr_per_256: 6e-4, weight_decay: 1e-2}\n")
    config = load_config(path)
    assert (config.output, config.seed) == (Path("no"), 10)
    assert (config.optim.lr_per_256, config.optim.weight_decay) == (6e-4, 1e-2)


def test_duplicate_keys_are_refused_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path, "output: o\ntrain:\n  epochs: 1\n  epochs: 2\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:4: key 'epochs' appears twice"):
        load_config(path)


def test_overrides_in_both_spellings(tmp_path: Path) -> None:
    path = write(tmp_path, "output: o\n")
    config = load_config(path, ["train.epochs", "3", "optim.lr_per_256=6e-4", "data.root", "a=b", "data.val=null"])
    assert (config.train.epochs, config.optim.lr_per_256, config.data.root) == (3, 6e-4, Path("a=b"))
    with pytest.raises(
        ConfigError, match=r"if `my videos` is one value of data\.root, quote it: 'data\.root=my videos'$"
    ):
        load_config("own_videos", ["data.root=my", "videos"])
    with pytest.raises(ConfigError, match=r"train\.epochs.*the value is missing; write `train\.epochs VALUE`$"):
        load_config(path, ["train.epochs"])
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load_config(path, ["train.epoch", "3"])


def test_another_name_drops_the_arguments_of_the_base(tmp_path: Path) -> None:
    write(tmp_path, "output: o\nmodel: {adapter: {name: adaptformer, bottleneck: 8}}\n", "base.yaml")
    child = write(tmp_path, "_BASE_: base.yaml\nmodel: {adapter: {name: linear}}\n")
    assert load_config(child).model.adapter == {"name": "linear"}
    assert load_config(tmp_path / "base.yaml", ["model.adapter.name", "full"]).model.adapter == {"name": "full"}
    assert load_config(tmp_path / "base.yaml", ["model.adapter.scale=0.5"]).model.adapter["bottleneck"] == 8


def test_arguments_alone_change_the_default_component(tmp_path: Path) -> None:
    path = write(tmp_path, "output: o\ndata: {sampling: {stride_frames: 2}}\nmodel: {backbone: {depth: 3}}\n")
    config = load_config(path, ["data.decoder.threads", "2", "model.adapter.bottleneck", "8"])
    assert config.data.decoder == {"name": "decord", "threads": 2, "levels": None}
    assert (config.data.sampling["name"], config.data.sampling["stride_frames"]) == ("dense", 2)
    assert isinstance(config.model.adapter, dict)
    assert (config.model.adapter["name"], config.model.adapter["bottleneck"]) == ("adaptformer", 8)
    assert [config.model.backbone[key] for key in ("name", "size", "depth")] == ["vit", "base", 3]
    with pytest.raises(ConfigError, match=r"data\.dataset\.trian: unknown key; allowed: name"):
        load_config(path, ["data.dataset.trian", "x"])
    with pytest.raises(ConfigError, match=r"data\.decoder\.nme: unknown key; did you mean 'name'"):
        load_config(path, ["data.decoder.nme", "pyav"])


def test_an_alternative_has_no_line_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, "output: o\nmodel: {adapter: {name: adaptformer, scale: much}}\ndata: {classes: 1}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [problem.partition(": ")[2].partition(":")[0] for problem in caught.value.problems] == [
        "data.classes = 1",
        "model.adapter.scale = 'much'",
    ]


def test_bases_merge_in_order_and_may_not_circle(tmp_path: Path) -> None:
    write(tmp_path, "output: one\nseed: 1\n", "one.yaml")
    write(tmp_path, "output: two\n", "two.yaml")
    config = load_config(write(tmp_path, "_BASE_: [one.yaml, two.yaml]\n"))
    assert (config.output, config.seed) == (Path("two"), 1)
    write(tmp_path, "_BASE_: b.yaml\n", "a.yaml")
    with pytest.raises(ConfigError, match="leads back to"):
        load_config(write(tmp_path, "_BASE_: a.yaml\n", "b.yaml"))
    with pytest.raises(ConfigError, match=r"missing\.yaml.*named as _BASE_"):
        load_config(write(tmp_path, "_BASE_: missing.yaml\n", "c.yaml"))


def test_another_optimizer_keeps_the_rate_and_its_schedule(tmp_path: Path) -> None:
    base = "output: o\noptim: {name: adamw, lr_per_256: 6e-4, warmup_epochs: 2, weight_decay: 0.05, options: {amsgrad: true}}\n"
    kept = load_config(write(tmp_path, base, "base.yaml")).optim
    child = write(tmp_path, "_BASE_: base.yaml\noptim: {name: sgd, momentum: 0.8}\n")
    expected = kept.model_copy(update={"name": "sgd", "momentum": 0.8, "options": {}})
    assert load_config(child).optim == expected
    assert load_config(tmp_path / "base.yaml", ["optim.momentum=0.8", "optim.name=sgd"]).optim == expected
    over = {"optim": {"name": "sgd", "options": {"nesterov": True}}}
    assert load_config(child, over).optim.options == {"nesterov": True}


def test_an_argument_of_several_components_says_of_which(tmp_path: Path) -> None:
    """It was the default one's, `adaptformer`, which then stood in place of the list."""
    path = write(tmp_path, "output: o\nmodel: {adapter: [{name: lora, rank: 2}, {name: adaptformer, bottleneck: 4}]}\n")
    with pytest.raises(
        ConfigError, match=r"adapter\.bottleneck: adapter is a list of 2: lora, adaptformer; say of which"
    ):
        load_config(path, ["model.adapter.bottleneck=8"])
    changed = load_config(path, ["model.adapter.1.bottleneck=8"]).model.adapter
    assert isinstance(changed, list) and [part["name"] for part in changed] == ["lora", "adaptformer"]
    assert changed[1]["bottleneck"] == 8
    one = load_config(path, ["model.adapter={name: lora}"]).model.adapter
    assert isinstance(one, dict) and one["name"] == "lora"


def test_an_optimizer_on_a_sweep_axis_keeps_what_is_set() -> None:
    tokens = ["optim.name=adamw", "optim.weight_decay=0.05", "optim.name=sgd"]
    assert parse_overrides(tokens)["optim"] == {"name": "sgd", "weight_decay": 0.05}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("optim.name=AdamW", "optim.name = 'AdamW': is no optimizer here; did you mean 'adamw'? allowed: adadelta, "),
        ("optim.name=lbfgs", "optim.name = 'lbfgs': evaluates the loss several times an update; allowed: adadelta, adagrad"),
        ("optim.options=0.9", "optim.options = "),
        ("optim.schedule=cosin", "optim.schedule = 'cosin': is no schedule; did you mean 'cosine'? allowed: constant, "),
        ("optim.schedule.power=2", "optim.schedule = {'power': 2}: needs a name, {name: step, milestones_epochs: [30, 60]}"),
        ("optim.schedule={name: polynomial, factor: 2}", "polynomial takes no 'factor'; allowed: power"),
        ("optim.schedule=step", "optim.schedule.milestones_epochs: a value is required"),
        ("optim.schedule={name: one_cycle, rise: 1}", "optim.schedule.rise = 1: input should be less than 1"),
        ("optim.schedule={name: step, milestones_epochs: []}", "optim.schedule.milestones_epochs = []: "),
        ("optim.schedule={name: step, milestones_epochs: [0]}", "optim.schedule.milestones_epochs.0 = 0: "),
        ("optim.schedule={name: step, milestones_epochs: [1], factor: 1}", "optim.schedule.factor = 1: input should be less"),
        ("optim.schedule={name: polynomial, power: .inf}", "optim.schedule.power = inf: input should be a finite number"),
    ],
)  # fmt: skip
def test_a_wrong_optimizer_or_schedule_is_one_line(override: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, "output: o\n"), [override])
    assert len(caught.value.problems) == 1 and line in str(caught.value)


def test_a_schedule_by_its_name_and_by_its_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, "output: o\noptim: {schedule: {name: step, milestones_epochs: [3]}}\n")
    found = load_config(path, ["optim.schedule.factor=0.5"]).model_dump(mode="json")["optim"]["schedule"]
    assert found == {"name": "step", "milestones_epochs": [3.0], "factor": 0.5}
    assert load_config(path, ["optim.schedule=constant"]).optim.schedule.name == "constant"


def test_holdout_and_list_as_validation(tmp_path: Path) -> None:
    path = write(tmp_path, "output: o\ndata: {val: {holdout: 0.1, group: '(g[0-9]+)'}}\n")
    held = load_config(path).data.val
    assert held is not None and not isinstance(held, str) and held.holdout == 0.1
    assert load_config(path, ["data.val", "lists/val.csv"]).data.val == "lists/val.csv"
    assert load_config(path, ["data.val", "null"]).data.val is None
    with pytest.raises(ConfigError, match=r"holdout = 0\.6.*0\.5"):
        load_config(path, ["data.val.holdout=0.6"])


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:3: not valid yaml"):
        load_config(write(tmp_path, "output: o\ndata: [1, {\n"))
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory$"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "quickstart.yml").touch()
    with pytest.raises(ConfigError, match=r"No such file or directory; did you mean 'quickstart\.yml'\?$"):
        load_config(tmp_path / "quickstrat.yaml")


@pytest.mark.parametrize("tool", ["run_net.py", "demo.py", "extract_features.py"])
def test_help_imports_neither_torch_nor_components(tool: str) -> None:
    code = (
        "import runpy, sys\nsys.argv = ['tool', '--help']\n"
        f"try:\n    runpy.run_path({str(REPOSITORY / 'tools' / tool)!r}, run_name='__main__')\n"
        "except SystemExit:\n    pass\nassert 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=REPOSITORY)
