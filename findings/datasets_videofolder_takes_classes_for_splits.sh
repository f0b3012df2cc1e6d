#!/usr/bin/env bash
# Hugging Face's `load_dataset("videofolder")` reads Kinetics' class "training dog" as a training set: the other classes are gone, or test films train.
#
# It looks for the words train, training, val, validation, valid, dev, test, testing, eval and evaluation anywhere in the path below the folder,
# between blanks, hyphens, dots, underscores and digits. In a folder of class folders one class with such a word in its name, or one such
# file, is then all that is read. Below train/ and val/ the films of that class are read more than once, and those of val/ are in the training set,
# too, so that a model is validated on what it was trained on. No error and no warning: the counts are all that tells. The documentation has the rule
# for names of folders and files, the reports of what it leaves out are old (issue 5021), and `imagefolder` goes by it as well. Patterns of
# one's own (`data_files={"train": "train/**", "validation": "val/**"}`) leave nothing to guess.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install datasets==5.2.0 av==18.1.0 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import shutil
import sys
from pathlib import Path

import av
import datasets
import numpy as np

WORK = Path(sys.argv[1])
datasets.disable_progress_bars()
CLASSES = ("tying tie", "yoga", "zumba")
with av.open(str(WORK / "film.mp4"), "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for value in range(10):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * value, np.uint8), format="rgb24")))
    container.mux(stream.encode())


def look(title, names, **patterns):
    root = WORK / title.replace(" ", "_")
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(WORK / "film.mp4", root / name)
    where = {"data_files": {split: str(root / pattern) for split, pattern in patterns.items()}} if patterns else {"data_dir": str(root)}
    read = datasets.load_dataset("videofolder", **where, cache_dir=str(WORK / "cache" / root.name), drop_labels=False)
    print(f"{title}, {len(names)} films:")
    for split, rows in read.items():
        rows = rows.cast_column("video", datasets.Video(decode=False))
        paths = [Path(row["video"]["path"]).relative_to(root).as_posix() for row in rows]
        more = f", {len(paths) - len(set(paths))} of them again" if len(set(paths)) < len(paths) else ""
        of_val = sum(path.startswith("val/") for path in set(paths))
        leaked = f", {of_val} from val/" if of_val and split == "train" else ""
        print(f"    {split}: {len(paths)} films{more}{leaked}; classes {', '.join(rows.features['label'].names)}")


def in_splits(classes):
    return [f"{split}/{name}/{number}.mp4" for split in ("train", "val") for name in classes for number in range(3)]


print(f"datasets {datasets.__version__}")
look("three classes", [f"{name}/{number}.mp4" for name in CLASSES for number in range(3)])
look("with training dog", [f"{name}/{number}.mp4" for name in ("training dog", *CLASSES) for number in range(3)])
look("with a file named test_1", [f"{name}/{number}.mp4" for name in CLASSES for number in range(3)] + ["yoga/test_1.mp4"])
look("three classes in train and val", in_splits(CLASSES))
look("with training dog in train and val", in_splits(("training dog", *CLASSES)))
look("with crash test in train and val", in_splits(("crash test", *CLASSES)))
look("training dog by patterns", in_splits(("training dog", *CLASSES)), train="train/**", validation="val/**")
PY
HF_HOME="$work/home" HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/said" | tee "$work/seen" || { cat "$work/said"; exit 1; }
diff "$work/seen" - <<'SEEN'
datasets 5.2.0
three classes, 9 films:
    train: 9 films; classes tying tie, yoga, zumba
with training dog, 12 films:
    train: 3 films; classes training dog
with a file named test_1, 10 films:
    test: 1 films; classes yoga
three classes in train and val, 18 films:
    train: 9 films; classes tying tie, yoga, zumba
    validation: 9 films; classes tying tie, yoga, zumba
with training dog in train and val, 24 films:
    train: 18 films, 3 of them again, 3 from val/; classes training dog, tying tie, yoga, zumba
    validation: 12 films; classes training dog, tying tie, yoga, zumba
with crash test in train and val, 24 films:
    train: 12 films; classes crash test, tying tie, yoga, zumba
    validation: 12 films; classes crash test, tying tie, yoga, zumba
    test: 6 films; classes crash test, tying tie, yoga, zumba
training dog by patterns, 24 films:
    train: 12 films; classes training dog, tying tie, yoga, zumba
    validation: 12 films; classes training dog, tying tie, yoga, zumba
SEEN
echo "as it was"
