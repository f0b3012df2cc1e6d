#!/usr/bin/env bash
# np.argsort puts equal scores into another order on processors with AVX-512, and an average precision changes by points.
#
# numpy's default sort is not stable, and it is another algorithm where the processor has AVX-512, or AVX2. Equal scores are
# common: probabilities of float16 or bfloat16, saturated ones, counts of votes. Everything that ranks with `np.argsort(-scores)` or pandas' `sort_values`
# (evaluation code of localisation and detection does) then gives another number on another node of one cluster. `kind="stable"` gives one order,
# and an average precision that takes equal scores together needs none.
#
# Makes its own input; needs Python 3.11 or newer, pip and Linux on x86-64 with AVX2. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install numpy==2.4.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import sys

import numpy as np

rng = np.random.default_rng(0)
right = rng.random(300) < 0.2
score = np.where(right, rng.normal(0.6, 0.2, 300), rng.normal(0.4, 0.2, 300)).clip(0, 1)
score = np.round(score * 10) / 10  # eleven values


def average_precision(order):
    there = right[order]
    return 100 * float((np.cumsum(there) / np.arange(1, len(there) + 1))[there].mean())


orders = {"default": np.argsort(-score), "stable": np.argsort(-score, kind="stable")}
print(", ".join(f"{name} {average_precision(order):.2f}" for name, order in orders.items()))
PY
without="X86_V4 AVX512_ICL AVX512_SPR"
{
    echo "numpy $("$work/venv/bin/python" -c 'import numpy; print(numpy.__version__)')"
    echo "as it is: $("$work/venv/bin/python" "$work/look.py")"
    echo "without AVX-512: $(NPY_DISABLE_CPU_FEATURES=$without "$work/venv/bin/python" "$work/look.py" 2>"$work/errors")"
    echo "without AVX2: $(NPY_DISABLE_CPU_FEATURES="X86_V3 $without" "$work/venv/bin/python" "$work/look.py" 2>>"$work/errors")"
} >"$work/seen"
cat "$work/seen" "$work/errors"
as_it_is=47.79
if ! grep -qE '^flags.*avx512bw.*avx512vl' /proc/cpuinfo; then
    echo "this processor has no AVX-512"
    as_it_is=49.03
fi
diff - "$work/seen" <<SEEN
numpy 2.4.6
as it is: default $as_it_is, stable 47.37
without AVX-512: default 49.03, stable 47.37
without AVX2: default 49.11, stable 47.37
SEEN
echo "as it was"
