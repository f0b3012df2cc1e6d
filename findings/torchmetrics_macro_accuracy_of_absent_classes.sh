#!/usr/bin/env bash
# torchmetrics' mean class accuracy counts a class that the test list does not have as 0 % as soon as one clip is taken for it: 72.9 % becomes 14.6 %.
#
# `MulticlassAccuracy` (which takes average="macro" by default) leaves out a class only if it is neither among the labels nor among the answers. A model of
# 50 classes that is tested on a list of ten (a part of a list, another data set's shared classes, rare classes without a test clip) is divided by up to
# 50 in place of 10, so that a model with 96 % right gets 19 % and one with 50 % right gets 50 %, because its mistakes stay among the ten. No warning.
# With top_k=2 absent classes are left out: "top-2" is 84.5 %, six times top-1. scikit-learn's `balanced_accuracy_score` takes the mean over the classes of the
# labels; `average="micro"` is the share of right answers. Where every class has a clip in the list, all agree.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux on x86. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install torch==2.11.0 numpy==2.2.6 torchmetrics==1.9.0 \
    scikit-learn==1.9.1 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import warnings

import numpy as np
import sklearn
import torch
import torchmetrics
from sklearn.metrics import balanced_accuracy_score
from torchmetrics.classification import MulticlassAccuracy

warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
CLASSES = 50
drawn = np.random.default_rng(0)
NOISE = drawn.normal(size=(1000, CLASSES)).astype(np.float32)


def look(name, labels, lead):
    """Scores of a model that gives the right class `lead` more than the others, on average."""
    scores = NOISE.copy()
    scores[np.arange(1000), labels] += lead
    best = scores.argmax(1)
    listed = np.unique(labels)
    found = {"top-1": (best == labels).mean(), "mean of the listed classes": np.mean([(best[labels == c] == c).mean() for c in listed])}
    found["scikit-learn"] = balanced_accuracy_score(labels, best)
    for k in (1, 2):
        found[f"torchmetrics, top_k={k}"] = MulticlassAccuracy(CLASSES, top_k=k)(torch.tensor(scores), torch.tensor(labels)).item()
    strays = len(np.setdiff1d(best, listed))
    print(f"{name}: {len(listed)} classes listed, {strays} others answered:", ", ".join(f"{k} {100 * v:.1f} %" for k, v in found.items()))


print(f"torchmetrics {torchmetrics.__version__}, scikit-learn {sklearn.__version__}, a model of {CLASSES} classes, 1000 clips")
look("a list of all classes", np.arange(1000) % 50, 3.0)
look("a list of ten", np.arange(1000) % 10, 3.0)
look("the same, a better model", np.arange(1000) % 10, 5.0)
always = np.arange(1000) % 10
right = np.where(np.arange(1000) < 40, 10 + np.arange(1000) % 40, always)  # 40 of 1000 clips are taken for absent classes, one each
half = np.where(np.arange(1000) % 2, always, (always + 1) % 10)  # half of the clips are taken for others of the ten
for name, best in (("40 stray answers, all else right", right), ("half of the clips wrong, no stray answers", half)):
    value = MulticlassAccuracy(CLASSES)(torch.tensor(best), torch.tensor(always)).item()
    print(f"{name}: scikit-learn {100 * balanced_accuracy_score(always, best):.1f} %, torchmetrics {100 * value:.1f} %")
PY
"$work/venv/bin/python" "$work/look.py" 2>"$work/errors" | tee "$work/seen" || { cat "$work/errors"; exit 1; }
diff - "$work/seen" <<'SEEN'
torchmetrics 1.9.0, scikit-learn 1.9.1, a model of 50 classes, 1000 clips
a list of all classes: 50 classes listed, 0 others answered: top-1 74.8 %, mean of the listed classes 74.8 %, scikit-learn 74.8 %, torchmetrics, top_k=1 74.8 %, torchmetrics, top_k=2 84.8 %
a list of ten: 10 classes listed, 40 others answered: top-1 72.9 %, mean of the listed classes 72.9 %, scikit-learn 72.9 %, torchmetrics, top_k=1 14.6 %, torchmetrics, top_k=2 84.5 %
the same, a better model: 10 classes listed, 4 others answered: top-1 99.5 %, mean of the listed classes 99.5 %, scikit-learn 99.5 %, torchmetrics, top_k=1 71.1 %, torchmetrics, top_k=2 99.7 %
40 stray answers, all else right: scikit-learn 96.0 %, torchmetrics 19.2 %
half of the clips wrong, no stray answers: scikit-learn 50.0 %, torchmetrics 50.0 %
SEEN
echo "as it was"
