#!/usr/bin/env bash
# onnxruntime computes a float16 file in float32 on a CPU, without rounding in between: what overflows elsewhere is fine there.
#
# Its CPU has few kernels for float16, so that it casts to float32 around each operation, and then takes away each pair of casts between two of
# them, even with all optimisations disabled. Sums and products that ONNX defines as float16, and that a GPU computes as float16, keep
# float32's digits and range. A comparison of a float16 file with its float32 original on a CPU therefore measures the rounding of the weights
# alone; activations beyond 65504 become infinite, and logits NaN, only where the file is used. A graph output in between makes them visible, because
# it has to be float16 itself.
#
# Makes its own input; needs Python 3.11 or newer, pip, Linux and an x86-64 processor. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install onnxruntime==1.32.0 onnx==1.23.2 numpy==2.2.6 2>"$work/pip" ||
    { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

LEVELS = onnxruntime.GraphOptimizationLevel


def model(steps, outputs):
    """Each step is (operation, constant), applied to what came before; `outputs` are the numbers of the steps to give out."""
    nodes, constants = [], []
    for number, (operation, value) in enumerate(steps):
        constants.append(helper.make_tensor(f"c{number}", TensorProto.FLOAT16, [1], [value]))
        nodes.append(helper.make_node(operation, [f"v{number}", f"c{number}"], [f"v{number + 1}"]))
    x = helper.make_tensor_value_info("v0", TensorProto.FLOAT16, [1])
    given = [helper.make_tensor_value_info(f"v{number}", TensorProto.FLOAT16, [1]) for number in outputs]
    return helper.make_model(
        helper.make_graph(nodes, "g", [x], given, constants), opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    )


def by_onnxruntime(made, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [float(value[0]) for value in session.run(None, {"v0": np.ones(1, np.float16)})]


print(f"onnxruntime {onnxruntime.__version__}")
for said, steps, outputs in (
    ("1 x 300 x 300 / 300 / 300", [("Mul", 300), ("Mul", 300), ("Div", 300), ("Div", 300)], (4,)),
    ("(1 + 2048) - 2048", [("Add", 2048), ("Sub", 2048)], (2,)),
    ("1 x 300 x 300 as an output too", [("Mul", 300), ("Mul", 300), ("Div", 300), ("Div", 300)], (4, 2)),
):
    made = model(steps, outputs)
    with np.errstate(over="ignore"):
        defined = [float(value[0]) for value in ReferenceEvaluator(made).run(None, {"v0": np.ones(1, np.float16)})]
    found = [by_onnxruntime(made, level) for level in (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_ALL)]
    print(f"{said}: in float16 {defined}, without optimisations {found[0]}, with all {found[1]}")
PY
"$work/venv/bin/python" "$work/look.py" 2>"$work/errors" >"$work/seen" || { cat "$work/errors"; exit 1; }
cat "$work/seen"
diff - "$work/seen" <<'SEEN'
onnxruntime 1.32.0
1 x 300 x 300 / 300 / 300: in float16 [inf], without optimisations [1.0], with all [1.0]
(1 + 2048) - 2048: in float16 [0.0], without optimisations [1.0], with all [1.0]
1 x 300 x 300 as an output too: in float16 [inf, inf], without optimisations [1.0, inf], with all [1.0, inf]
SEEN
echo "as it was"
