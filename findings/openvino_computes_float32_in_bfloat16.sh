#!/usr/bin/env bash
# OpenVINO computes a float32 ONNX file in bfloat16 where the processor can, and saves it in float16, without a word.
#
# On x86 with AVX512-BF16 or AMX (servers since 2020, desktops since Zen 4) the CPU plugin's default precision is bfloat16, elsewhere float32: one file
# gives numbers that differ by a thousand times float32's rounding from machine to machine, and best classes that differ. Apart from that
# `ov.save_model` (and `ovc`) halve the weights to float16 by default. INFERENCE_PRECISION_HINT="f32" (or EXECUTION_MODE_HINT="ACCURACY") and
# `compress_to_fp16=False` give the file's own numbers.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 \
    2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

WIDTH, DEPTH, CLASSES, ROWS = 256, 8, 400, 1024
rng = np.random.default_rng(0)


def network():
    """Residual blocks of norm, linear, GELU, linear, and a classifier: all weights are float32."""
    weights = {"scale": np.ones(WIDTH), "shift": np.zeros(WIDTH), "head": rng.standard_normal((WIDTH, CLASSES)) / WIDTH**0.5}
    nodes, at = [], "x"
    for block in range(DEPTH):
        weights[f"up{block}"] = rng.standard_normal((WIDTH, 4 * WIDTH)) / WIDTH**0.5
        weights[f"down{block}"] = rng.standard_normal((4 * WIDTH, WIDTH)) / (4 * WIDTH) ** 0.5
        for kind, *inputs, output in (
            ("LayerNormalization", at, "scale", "shift", f"norm{block}"),
            ("MatMul", f"norm{block}", f"up{block}", f"wide{block}"),
            ("Gelu", f"wide{block}", f"active{block}"),
            ("MatMul", f"active{block}", f"down{block}", f"back{block}"),
            ("Add", at, f"back{block}", f"x{block}"),
        ):
            nodes.append(helper.make_node(kind, inputs, [output]))
        at = f"x{block}"
    nodes.append(helper.make_node("MatMul", [at, "head"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [ROWS, CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


path = f"{sys.argv[1]}/model.onnx"
onnx.save(network(), path)
x = rng.standard_normal((ROWS, WIDTH)).astype(np.float32)
(wanted,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
core = ov.Core()


def show(name, model, **settings):
    compiled = core.compile_model(model, "CPU", settings)
    got = compiled(x)[0]
    far = np.abs(got - wanted).max() / np.abs(wanted).max()
    size = "more than 1e-3" if far > 1e-3 else "1e-5 to 1e-3" if far > 1e-5 else "less than 1e-5"
    other = (got.argmax(1) != wanted.argmax(1)).any()
    print(f"{name}: {size} of the largest logit from onnxruntime, another best class: {'some' if other else 'none'} of {ROWS}")


print(f"OpenVINO {ov.__version__.split('-')[0]}, onnxruntime {onnxruntime.__version__}")
model = core.read_model(path)
show("as it is", model)
show("f32 hint", model, INFERENCE_PRECISION_HINT="f32")
show("accuracy hint", model, EXECUTION_MODE_HINT="ACCURACY")
for compressed in (True, False):
    saved = f"{sys.argv[1]}/saved.xml"
    ov.save_model(model, saved, **({} if compressed else {"compress_to_fp16": False}))
    show(f"f32 hint, saved{'' if compressed else ' with compress_to_fp16=False'}", core.read_model(saved), INFERENCE_PRECISION_HINT="f32")
PY
"$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/said" | tee "$work/seen" || { cat "$work/said"; exit 1; }
if grep -qE '^flags.*(avx512_bf16|amx_bf16)' /proc/cpuinfo; then
    plain="as it is: more than 1e-3 of the largest logit from onnxruntime, another best class: some of 1024"
else
    echo "this processor has no bfloat16"
    plain="as it is: less than 1e-5 of the largest logit from onnxruntime, another best class: none of 1024"
fi
diff "$work/seen" - <<SEEN
OpenVINO 2026.4.1, onnxruntime 1.32.0
$plain
f32 hint: less than 1e-5 of the largest logit from onnxruntime, another best class: none of 1024
accuracy hint: less than 1e-5 of the largest logit from onnxruntime, another best class: none of 1024
f32 hint, saved: 1e-5 to 1e-3 of the largest logit from onnxruntime, another best class: some of 1024
f32 hint, saved with compress_to_fp16=False: less than 1e-5 of the largest logit from onnxruntime, another best class: none of 1024
SEEN
echo "as it was"
