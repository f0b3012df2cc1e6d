"""A training stops where its validation has been no better for so many epochs."""

import pytest

from videoadapt.config.schema import StopEarly
from videoadapt.training.patience import Patience

TOP1 = StopEarly(patience_epochs=2)
LOSS = StopEarly(metric="loss", patience_epochs=2)


def stops_at(config: StopEarly | None, key: str, values: list[float | None]) -> int | None:
    """The first validation, one every epoch of ten steps, after which it is over."""
    patience = Patience(config, 10)
    for number, value in enumerate(values, start=1):
        patience.note(10 * number, {key: value})
        if patience.is_out:
            return number
        state, patience = patience.state(), Patience(config, 10)  # as if each epoch was another process
        patience.restore(state, 10 * number)
    return None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4, 5], None),
        ([5, 4, 4.5], 3),
        ([5, 5, 5], 3),
        ([1, 3, 2, 4, 3, 2], 6),
        ([3, 2, 3.5, 3, 3], 5),
    ],
)
def test_it_stops_after_the_best(values: list[float], expected: int | None) -> None:
    assert stops_at(TOP1, "top1", list(values)) == expected
    assert stops_at(LOSS, "loss", [-value for value in values]) == expected
    assert stops_at(None, "top1", list(values)) is None


def test_what_cannot_be_measured_is_no_better() -> None:
    assert stops_at(LOSS, "loss", [None, None]) == 2
    assert stops_at(LOSS, "loss", [None, 1.0, None, None]) == 4


def test_rare_validations_count_in_epochs() -> None:
    patience = Patience(TOP1, 10)
    for step, value, is_out in ((30, 5.0, False), (60, 4.0, True)):
        patience.note(step, {"top1": value})
        assert patience.is_out == is_out


def test_a_run_that_stopped_is_still_over_when_it_is_restored() -> None:
    patience, again = Patience(LOSS, 10), Patience(LOSS, 10)
    for step, loss in ((10, 0.5), (20, 0.25), (30, 0.75), (40, 0.5)):
        patience.note(step, {"loss": loss})
    again.restore(patience.state(), 45)  # a checkpoint of later
    assert patience.is_out and again.is_out
    assert str(again) == "the validation's loss has been no better for 2 epochs than 0.25 at step 20"
    patience = Patience(LOSS, 10)
    patience.note(10, {"loss": 0.5})
    again.restore(patience.state(), 30)  # its next validation decides
    assert not again.is_out


@pytest.mark.parametrize("state", [None, {"metric": "loss", "best": 0.1, "best_step": 10, "last_step": 90}])
def test_it_begins_anew_without_a_state_of_its_metric(state: dict[str, float] | None) -> None:
    patience = Patience(TOP1, 10)
    patience.restore(state, 90)
    assert not patience.is_out
    patience.note(100, {"top1": 1.0})
    patience.note(110, {"top1": 1.0})
    assert not patience.is_out
    patience.note(120, {"top1": 1.0})
    assert patience.is_out
