"""Overrides as people write them: anywhere between the options, with dashes, after `--cfg-options`."""

import pytest

from videoadapt.cli import report, submit, sweep, test, train

PLAIN = ["train.epochs=1", "seed", "2"]


@pytest.mark.parametrize("command", [train, test, submit, sweep])
@pytest.mark.parametrize(
    "words",
    [
        PLAIN,
        ["--cfg-options", *PLAIN],
        ["--opts", *PLAIN],
        ["--train.epochs=1", "--seed", "2"],
        ["--train.epochs=1", "--seed", "2", "--cfg", "x"],
    ],
)
def test_habits_of_other_tools_are_understood(command: object, words: list[str]) -> None:
    args = command.parse_arguments(["--cfg", "x", *words])  # type: ignore[attr-defined]
    assert args.overrides == PLAIN


def test_options_may_stand_between(capsys: pytest.CaptureFixture[str]) -> None:
    args = train.parse_arguments(["train.epochs=1", "--cfg", "x", "seed", "2"])
    assert (args.cfg, args.overrides) == ("x", PLAIN)
    args = sweep.parse_arguments(["seed=1", "--cfg", "x", "--slurm", "--nodes", "2", "--comment", "x"])
    assert (args.overrides, args.slurm) == (["seed=1"], ["--nodes", "2", "--comment", "x"])


@pytest.mark.parametrize(
    ("word", "written"),
    [("--lr", "optim.lr_per_256 VALUE"), ("--batch-size=3", "train.batch_size VALUE"), ("--zzz", "KEY VALUE")],
)
def test_an_unknown_option_is_one_line(word: str, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train.parse_arguments(["--cfg", "x", word, "1"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and f"error: {word.partition('=')[0]}: is no option" in said and f"`{written}`" in said


def test_overrides_are_not_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.parse_arguments([])
    assert capsys.readouterr().err.endswith("error: the following arguments are required: RUN\n")
