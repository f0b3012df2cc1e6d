"""A sweep's cells: what is run, what counts as done, and that a choice looks at the validation list only."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from tests.toy_runs import REPOSITORY
from tests.toy_sweeps import RATES, end, finish, sweep
from videoadapt.errors import CheckpointError, ConfigError, Diverged
from videoadapt.runs.outcome import OutcomeRecorder
from videoadapt.runs.statement import Statement
from videoadapt.slurm.attempts import Attempt, write_submission
from videoadapt.sweeps.cell import LOG, Cell
from videoadapt.sweeps.plan import Sweep

SHIPPED = sorted(path.name for path in (REPOSITORY / "configs" / "sweeps").glob("*.yaml"))


def names(cells: list[Cell]) -> list[str]:
    return [f"{'/'.join(cell.settings.values())}/{cell.seed}{'' if cell.tested else ' untested'}" for cell in cells]


def test_all_combinations_of_settings_and_seeds(tmp_path: Path) -> None:
    plan = sweep(tmp_path, seeds=[3, 5], exclude=[{"method": "linear", "optim.lr_per_256": [0.01, 0.1]}])
    assert names(plan.missing()) == [
        "linear/0.001/3", "linear/0.001/5", "lora/0.001/3", "lora/0.001/5",
        "lora/0.01/3", "lora/0.01/5", "lora/0.1/3", "lora/0.1/5",
    ]  # fmt: skip
    cell = plan.missing()[-1]
    assert cell.config.model.adapter["rank"] == 2 and cell.config.optim.lr_per_256 == 0.1 and cell.config.seed == 5
    assert cell.folder == tmp_path / "sweep" / "cells" / "method=lora,lr_per_256=0.1" / "seed=5"
    assert len({cell.folder for cell in plan.cells}) == 8


def test_the_command_line_gives_the_cell_its_config(tmp_path: Path) -> None:
    """What another launcher runs, a job of an array for one, is what the plan says."""
    from videoadapt.cli.train import parse_arguments
    from videoadapt.config.loading import load_config

    for cell in sweep(tmp_path, "train.epochs", "7", set={"data": {"num_frames": 2}}).missing():
        args = parse_arguments(cell.arguments)
        assert load_config(args.cfg, args.overrides) == cell.config
        assert (cell.config.train.epochs, cell.config.data.num_frames, cell.config.data.crop_px) == (7, 2, 32)


def test_a_rate_is_chosen_on_the_validation_list_and_only_there(tmp_path: Path) -> None:
    select = {"axis": "optim.lr_per_256", "seeds": [4]}
    plan = sweep(tmp_path, select=select, seeds=[0, 4])
    first = plan.missing()
    assert names(first) == [f"{m}/{lr}/4 untested" for m in ("linear", "lora") for lr in ("0.001", "0.01", "0.1")]
    assert all("test.enable=false" in cell.arguments for cell in first)
    for cell, val_top1 in zip(first, (10.0, 30.0, 20.0, 50.0, 50.0, 40.0), strict=True):
        assert plan.choice(cell.settings) is None
        finish(cell, val_top1, top1=0)
        # a better result on the test list, left by someone, changes nothing
        if cell.settings["optim.lr_per_256"] == "0.1":
            results = {"num_unreadable": 0, "num_videos": 10, "top1": 100.0}
            (cell.folder / "results.json").write_text(json.dumps(results))
    assert names(plan.missing()) == [
        "linear/0.01/0",
        "linear/0.01/4",
        "lora/0.001/0",
        "lora/0.001/4",
    ]  # first of equals
    for cell in plan.missing():
        assert "test.enable=true" in cell.arguments
        finish(cell, 0 if cell.seed == 0 else cell.val_top1, top1=1)
    assert plan.missing() == []
    assert [settings["optim.lr_per_256"] for settings, _ in plan.groups()] == ["0.01", "0.001"]


def test_a_choice_within_one_setting_holds_for_the_others(tmp_path: Path) -> None:
    clips = {"clips": {20: {"data.crop_px": 32}, 60: {"data.crop_px": 64}}}
    plan = sweep(tmp_path, axes=clips | RATES, select={"axis": "optim.lr_per_256", "within": {"clips": 60}})
    assert names(plan.missing()) == ["60/0.001/0 untested", "60/0.01/0 untested", "60/0.1/0 untested"]
    for cell, val_top1 in zip(plan.missing(), (1.0, 2.0, 3.0), strict=True):
        finish(cell, val_top1, top1=0)
    assert names(plan.missing()) == ["20/0.1/0", "60/0.1/0"]


@pytest.mark.parametrize("phase", ["training", "validation"])
def test_a_rate_that_diverged_is_not_chosen(phase: Literal["training", "validation"], tmp_path: Path) -> None:
    """Nor does it keep the others waiting."""
    plan = sweep(tmp_path, axes=RATES, select={"axis": "optim.lr_per_256"})
    *others, last = plan.missing()
    finish(last, 99.0, top1=0)  # it validated before
    (last.folder / "adapter.safetensors").unlink()
    end(last, Diverged(4, phase, "whatever words"))
    for cell in others:
        finish(cell, 5.0, top1=0)
    assert names(plan.missing()) == ["0.001/0"]


OLD_LOGS = {
    "loss": "the loss is nan; clips of this batch: a",
    "validation": "validation: val/a.mp4, clip 0, crop 0: not all logits are finite.",
}


@pytest.mark.parametrize("words", OLD_LOGS.values(), ids=OLD_LOGS)
@pytest.mark.parametrize("as_job", [False, True])
def test_cells_of_before_outcome_json_are_read(words: str, as_job: bool, tmp_path: Path) -> None:
    first, second, *_ = sweep(tmp_path, axes=RATES, select={"axis": "optim.lr_per_256"}).missing()
    finish(second, 99.0, top1=0)
    first.folder.mkdir(parents=True)
    (first.folder / "run.log").write_text("10:00:00 INFO step 3\n")
    if as_job:
        for number, error in enumerate(["error: out of memory", f"error: step 4: {words}"]):
            job = first.folder / "jobs" / str(number)
            write_submission(job, job_id=str(number), executor="slurm", ranks=2)
            Attempt(job, 0).begin()
            Attempt(job, 0).note_failure(1, error)
    else:
        (first.folder / LOG).write_text(f"10:00:00 INFO step 3\nerror: step 4: {words}\n")
    assert first.diverged and first.finished and not second.diverged


@pytest.mark.parametrize("killed", [False, True])
def test_an_old_log_says_nothing_of_a_new_run(killed: bool, tmp_path: Path) -> None:
    cell = sweep(tmp_path, axes=RATES, select={"axis": "optim.lr_per_256"}).missing()[0]
    end(cell, Diverged(4, "training", "the loss is nan"))
    (cell.folder / LOG).write_text("error: step 4: the loss is nan; clips of this batch: a\n")
    assert cell.diverged and cell.finished
    if killed:
        recorder = OutcomeRecorder(cell.folder)
        recorder.__enter__()
    else:
        end(cell, CheckpointError("unreadable"))
    assert not cell.diverged and not cell.finished


def test_a_rate_that_diverged_with_one_seed_loses(tmp_path: Path) -> None:
    rates = {"optim.lr_per_256": [0.1, 0.001]}
    plan = sweep(tmp_path, axes=rates, select={"axis": "optim.lr_per_256", "seeds": [0, 1]})
    scores = {"0.1": [80.0, None], "0.001": [30.0, 30.0]}
    for cell in plan.missing():
        top1 = scores[cell.settings["optim.lr_per_256"]][cell.seed]
        finish(cell, top1 or 0.0, top1=0)
        if top1 is None:
            end(cell, Diverged(4, "training", "the loss is nan"))
    assert plan.choice({}) == "0.001"
    for cell in plan.cells:
        end(cell, Diverged(4, "training", "the loss is nan"))
    assert plan.choice({}) is None and plan.missing() == []


def test_unreadable_test_videos_leave_a_cell_unfinished(tmp_path: Path) -> None:
    plan = sweep(tmp_path, axes=RATES)
    for cell, unreadable in zip(plan.missing(), (0, 1, 0), strict=True):
        finish(cell, 0, 50, unreadable)
    assert names(plan.missing()) == ["0.01/0"]
    assert sweep(tmp_path, "test.max_unreadable", "0.1", axes=RATES).missing() == []


def test_results_of_other_values_are_refused(tmp_path: Path) -> None:
    for cell in sweep(tmp_path, axes=RATES).missing():
        finish(cell, 0, 50)
    assert sweep(tmp_path, "data.workers", "3", "device", "auto", axes=RATES).missing() == []
    with pytest.raises(
        ConfigError, match=r"lr_per_256=0\.001/seed=0: was run with other values \(train\.epochs is 2 there, 3 now"
    ):
        sweep(tmp_path, "train.epochs", "3", axes=RATES)
    with pytest.raises(ConfigError, match=r"test\.clips is 2 there, 1 now\); delete the folder"):
        sweep(tmp_path, "test.clips", "1", axes=RATES)


def test_a_cell_that_was_tested_otherwise_is_only_tested_again(tmp_path: Path) -> None:
    cells = sweep(tmp_path, axes=RATES).missing()
    for cell in cells:
        finish(cell, 0, 50)
    path, config = cells[1].folder / "results.json", cells[1].config
    other = config.model_copy(update={"test": config.test.model_copy(update={"clips": 1})})
    path.write_text(json.dumps({**json.loads(path.read_text()), "statement": Statement.of(other, []).as_dict()}))
    said = r"test\.clips was 1 in the test there, is 2 now\); delete its results.json, and it is tested again"
    with pytest.raises(ConfigError, match=said):
        sweep(tmp_path, axes=RATES)
    path.unlink()
    assert names(sweep(tmp_path, axes=RATES).missing()) == ["0.01/0"]


SELECT = {"axis": "optim.lr_per_256"}


@pytest.mark.parametrize(
    ("keys", "overrides", "complaint"),
    [
        ({"axis": {}}, (), "axis: unknown key; did you mean 'axes'"),
        ({"axes": {"optim.lr": [1]}}, (), "optim.lr: unknown key"),
        ({"axes": {"seed": 3}}, (), r"axes\.seed = 3: allowed: a list of values"),
        ({"axes": {"train.epochs": [1, 1]}}, (), "a setting appears twice"),
        ({"axes": {"train.epochs": []}}, (), r"axes\.train\.epochs: holds no setting"),
        ({"axes": {}}, (), r"axes = {}: names no axis"),
        ({"axes": {"lr": {"lr*2": {"optim.lr_per_256": 2}, "lr/2": {"optim.lr_per_256": 1}}}}, (), "would share"),
        ({"axes": {"train.epochs": [1, 2]}, "set": {"task": "pretrain"}}, (), "a sweep is of task train"),
        ({"select": SELECT | {"within": {"method": ["lora"]}}}, (), r"select\.within\.method: names several"),
        ({"axes": {"seed": [1, 2]}}, (), "seed: is set for each cell; name the `seeds`"),
        ({"set": {"test": {"enable": False}}}, (), r"test\.enable: is decided by the sweep"),
        ({}, ("seed", "3"), "seed: is set for each cell"),
        ({"seeds": []}, (), r"seeds = \[\]: needs at least one"),
        ({"seeds": [2**64]}, (), r"seeds = \[18446744073709551616\]: needs at least one whole number, none below 0 or from 2"),
        ({"exclude": [{"methd": "lora"}]}, (), r"exclude\.0\.methd: no axis.*did you mean 'method'"),
        ({"exclude": [{"method": "lroa"}]}, (), r"exclude\.0\.method = lroa: did you mean 'lora'"),
        ({"exclude": [{"method": ["lora", "linear"]}]}, (), "exclude: leaves no cell"),
        ({"select": {"axis": "lr"}}, (), r"select\.axis = 'lr': allowed: method, optim\.lr_per_256"),
        ({"select": SELECT | {"on": "test"}}, (), r"select\.on = 'test'"),
        ({"select": SELECT | {"within": {"method": "vpt"}}}, (), r"select\.within\.method = vpt"),
        ({"select": SELECT | {"within": SELECT}}, (), r"select\.within\.axis: no axis"),
        ({"select": SELECT}, ("data.val", "null"), "select: needs a validation list"),
        ({"select": SELECT}, ("data.val", "test"), "data.val and data.test are both test"),
        (
            {"select": SELECT | {"within": {"method": "lora"}}, "exclude": [{"method": "lora", "optim.lr_per_256": 0.1}]},
            (),
            "would take its choice from cells that are excluded",
        ),
        ({}, ("optim", "{lr_per_256: 3}"), r"optim\.lr_per_256: is what the axes of this sweep vary"),
        ({}, ("model.adapter.rank", "3"), r"model\.adapter\.rank: is what the axes"),
        ({"axes": {"model.adapter": [[{"name": "full"}, {"name": "lora"}]]}}, (), "full cannot be combined"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_anything_runs(
    keys: dict[str, Any], overrides: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"sweep\.yaml: .*{complaint}"):
        sweep(tmp_path, *overrides, **keys)


def test_labels_say_what_was_set(tmp_path: Path) -> None:
    adapters = [
        {"name": "linear"},
        {"name": "lora", "rank": 3},
        [{"name": "adaptformer"}, {"name": "vpt", "num_tokens": 1}],
    ]
    plan = sweep(tmp_path, axes={"model.adapter": adapters, "model.head.batch_norm": [False]})
    assert list(plan.axes["model.adapter"]) == ["linear", "lora(rank=3)", "adaptformer+vpt(num_tokens=1)"]
    assert plan.cells[-1].folder.parent.name == "adapter=adaptformer+vpt-num_tokens-1-,batch_norm=false"
    assert plan.cells[-1].name == "adapter adaptformer+vpt(num_tokens=1), batch_norm false, seed 0"


def test_the_sweep_in_the_documentation_is_sound(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "sweeps.md").read_text(encoding="utf-8")
    raw = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw | {"base": str(REPOSITORY / "configs" / "hmdb51_adapt.yaml")}))
    assert len(Sweep(tmp_path / "s.yaml", ["output", str(tmp_path)]).missing()) == 3 * 2


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_sweep_is_sound(name: str, tmp_path: Path) -> None:
    plan = Sweep(REPOSITORY / "configs" / "sweeps" / name, ["output", str(tmp_path)])
    assert plan.missing() and all(not cell.tested for cell in plan.missing()) == (plan.config.select is not None)
    if name == "procedural_table.yaml":
        assert len(plan.missing()) == 15 * 7 and len(plan.cells) == (15 + 2 * 5) * 7 * 3
