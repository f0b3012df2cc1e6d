#!/usr/bin/env bash
# torchmetrics' MetricCollection of a top-1 and a top-5 accuracy gives one of them under both names where they agree on the first batch: 74.8 % twice.
#
# To save work it compares the counts of its metrics behind the first `update`, and those that are equal are one count from then on, whatever `top_k`
# says. They are equal where no clip of that batch has its class in the places 2 to 5: all right at once, or all wrong, as by a model that has just begun.
# It stays so for the life of the collection, behind `reset()` as well. The first by name goes on counting: "top1" before "top5", but "acc@5" before
# "accuracy", so that top-5 is reported as the accuracy, 93.6 % for 74.8 %. No warning. Clips come in small batches, which meet it most: of
# 8 clips in 18 to 60 of 100 orders of a list. average="macro" is the default; with "micro" top-1 keeps one sum and is told apart. `metrics(...)`
# in place of `metrics.update(...)` compares nothing. Issues 2596 and 2916 have it with other metrics and are closed; the documentation says that metrics of
# one group differ in their last step alone. `compute_groups=False` is right. So is each metric by itself.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux on x86. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 numpy==2.2.6 torchmetrics==1.9.0 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import warnings

import numpy as np
import torch
import torchmetrics
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

warnings.simplefilter("error")  # there is none
CLASSES, CLIPS = 50, 1000
drawn = np.random.default_rng(0)
NOISE = drawn.normal(size=(CLIPS, CLASSES)).astype(np.float32)
LABELS = np.arange(CLIPS) % CLASSES
PLACES = [drawn.permutation(CLIPS) for _ in range(200)]


def scores_of(lead):
    """Scores of a model that gives the right class `lead` more than the others, on average."""
    scores = NOISE.copy()
    scores[np.arange(CLIPS), LABELS] += lead
    return scores


def places_of(scores):
    """How many classes stand before the right one."""
    return (scores > scores[np.arange(CLIPS), LABELS][:, None]).sum(1)


def collection(one="top1", five="top5", **settings):
    groups = {"compute_groups": settings.pop("compute_groups", True)}
    return MetricCollection({k: MulticlassAccuracy(CLASSES, top_k=n, **settings) for k, n in ((one, 1), (five, 5))}, **groups)


def value(metrics, scores, order, size):
    for i in range(0, CLIPS, size):
        rows = order[i : i + size]
        metrics.update(torch.tensor(scores[rows]), torch.tensor(LABELS[rows]))
    return ", ".join(f"{k} {100 * v.item():.1f} %" for k, v in sorted(metrics.compute().items()))


print(f"torchmetrics {torchmetrics.__version__}, {CLASSES} classes, {CLIPS} clips, batches of 8")
good = scores_of(3.0)
print(f"the truth: top-1 {100 * (places_of(good) < 1).mean():.1f} %, top-5 {100 * (places_of(good) < 5).mean():.1f} %")
agree = next(p for p in PLACES if not ((places_of(good)[p[:8]] > 0) & (places_of(good)[p[:8]] < 5)).any())
differ = next(p for p in PLACES if ((places_of(good)[p[:8]] > 0) & (places_of(good)[p[:8]] < 5)).any())
print("first batch differs:", value(collection(), good, differ, 8))
print("first batch agrees:", value(collection(), good, agree, 8))
print("the same, other names:", value(collection("accuracy", "acc@5"), good, agree, 8))
print("the same, compute_groups=False:", value(collection(compute_groups=False), good, agree, 8))
print("the same, average='micro':", value(collection(average="micro"), good, agree, 8))
kept = collection()
value(kept, good, agree, 8)
kept.reset()
print("behind reset(), first batch differs:", value(kept, good, differ, 8))
for name, lead in (("untrained", 0.0), ("75 % right", 3.0), ("93 % right", 4.0)):
    scores = scores_of(lead)
    met = []
    for size in (1, 8, 16, 32):
        once = 0
        for order in PLACES:
            metrics = collection()
            metrics.update(torch.tensor(scores[order[:size]]), torch.tensor(LABELS[order[:size]]))
            once += len(metrics.compute_groups) == 1
        met.append(f"{size}: {100 * once / len(PLACES):.0f} %")
    print(f"orders of the list with one value for both, {name}, by size of a batch:", ", ".join(met))
PY
OMP_NUM_THREADS=1 "$work/venv/bin/python" "$work/look.py" 2>"$work/errors" | tee "$work/seen" || { cat "$work/errors"; exit 1; }
diff - "$work/seen" <<'SEEN'
torchmetrics 1.9.0, 50 classes, 1000 clips, batches of 8
the truth: top-1 74.8 %, top-5 93.6 %
first batch differs: top1 74.8 %, top5 93.6 %
first batch agrees: top1 74.8 %, top5 74.8 %
the same, other names: acc@5 93.6 %, accuracy 93.6 %
the same, compute_groups=False: top1 74.8 %, top5 93.6 %
the same, average='micro': top1 74.8 %, top5 93.6 %
behind reset(), first batch differs: top1 74.8 %, top5 74.8 %
orders of the list with one value for both, untrained, by size of a batch: 1: 92 %, 8: 60 %, 16: 37 %, 32: 8 %
orders of the list with one value for both, 75 % right, by size of a batch: 1: 84 %, 8: 18 %, 16: 5 %, 32: 1 %
orders of the list with one value for both, 93 % right, by size of a batch: 1: 92 %, 8: 53 %, 16: 30 %, 32: 9 %
SEEN
echo "as it was"
