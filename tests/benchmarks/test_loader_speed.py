"""The benchmark of the loader alone: what it says of readers whose speed is known."""

import json

import pytest

from benchmarks.run import main


@pytest.mark.slow
def test_readers_that_wait_give_what_their_waiting_allows(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["loader", "--workers", "1", "--clip-ms", "20", "--batch", "2", "--seconds", "0.4", "--repeats", "1"]
    assert main([*arguments, "--step-ms", "1", "--python-ms", "1"]) == 0
    output = capsys.readouterr()
    (row,) = json.loads(output.out)["rows"]
    assert 0 < row["readers_alone"] <= 50 and row["loader"] > 0 and row["thread_us"] > 0
    assert row["share"] == pytest.approx(row["loader"] / row["readers_alone"])
    assert output.err.splitlines()[-1].startswith(f"| 1 | 20 | {row['readers_alone']:.0f} |")
