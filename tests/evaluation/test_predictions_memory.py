"""What the averages of a long test list take: little beside the logits themselves."""

import subprocess
import sys

import pytest

from tests.toy_runs import REPOSITORY, environment

AVERAGE = """
import resource, sys
import numpy as np
import torch
from pathlib import Path
from videoadapt.data.structures import Video
from videoadapt.evaluation.predictions import Predictions, average_views

videos = [Video(str(n), Path(str(n)), n % 400) for n in range(10_000)]
logits_NVK = np.random.default_rng(0).standard_normal((10_000, 12, 400), np.float32)
few = average_views(torch.from_numpy(logits_NVK[:300]), sys.argv[1]).numpy()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = Predictions(videos, logits_NVK, {}, sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / logits_NVK.nbytes)
assert np.array_equal(made.scores_NK[:300], few)
"""

COLLECT = """
import resource
import numpy as np
from pathlib import Path
from videoadapt.data.structures import Video
from videoadapt.evaluation.views import ViewAccumulator, ViewId

videos = [Video(str(n), Path(str(n)), n % 400) for n in range(4_000)]
row_K = np.arange(400, dtype=np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
accumulator = ViewAccumulator(videos, 4, 3, 400)
for video in range(4_000):
    for view in range(12):
        accumulator.add(ViewId(video, view // 3, view % 3), row_K)
made = accumulator.predictions("logits")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / made.logits_NVK.nbytes)
"""


@pytest.mark.slow
def test_views_are_collected_in_their_place() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.7  # of 77 MB; pieces that were joined at the end took 2.5 times as much


@pytest.mark.slow
@pytest.mark.parametrize("average", ["logits", "probs"])
def test_averages_take_a_fraction_of_the_logits(average: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AVERAGE, average], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.6  # of 192 MB; all at once took twice as much as the logits
