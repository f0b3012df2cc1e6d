#!/usr/bin/env bash
# onnxruntime's MatMulInteger of uint8 and int8 gives wrong whole numbers on processors with AVX2 and without VNNI, without a word.
#
# ONNX says of MatMulInteger that products never overflow, and sums only beyond 32 bits. The kernel for AVX2 adds pairs of products in
# 16 bits that saturate (VPMADDUBSW): 255 x 127 + 255 x 127 becomes 32767. Of random numbers of the full range nearly all results are
# wrong. `quantize_dynamic` makes just this pair by default: inputs as uint8, weights as int8. So the accuracy of a
# quantised file depends on the processor that it is measured on. uint8 x uint8 (`weight_type=QuantType.QUInt8`) and int8 x int8
# are exact, and so is the same pair with weights of 7 bits (`reduce_range=True`). onnxruntime's page on quantisation speaks of saturation
# on AVX2; the operator's definition, and the default, do not.
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

KINDS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


def product(a, b):
    places = [helper.make_tensor_value_info(name, KINDS[str(x.dtype)], x.shape) for name, x in (("a", a), ("b", b))]
    out = helper.make_tensor_value_info("y", TensorProto.INT32, (len(a), b.shape[1]))
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "g", places, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"a": a, "b": b})[0]


print(f"onnxruntime {onnxruntime.__version__}")
rng = np.random.default_rng(0)
for kind_a, kind_b, bits in (("uint8", "int8", 8), ("uint8", "int8", 7), ("uint8", "uint8", 8), ("int8", "int8", 8)):
    of_a, of_b = np.iinfo(kind_a), np.iinfo(kind_b)
    part = 2 ** (8 - bits)
    a = rng.integers(of_a.min, of_a.max + 1, (64, 256)).astype(kind_a)
    b = rng.integers(of_b.min // part, of_b.max // part + 1, (256, 64)).astype(kind_b)
    wrong = product(a, b) != a.astype(np.int64) @ b.astype(np.int64)
    print(f"{kind_a} x {kind_b} of {bits} bits: {100 * wrong.mean():.0f} % of the sums of 256 products are wrong")
a, b = np.full((1, 2), 255, np.uint8), np.full((2, 1), 127, np.int8)
print(f"255 x 127 + 255 x 127 = 64770: {product(a, b)[0, 0]}")
PY

"$work/venv/bin/python" "$work/look.py" >"$work/seen"
cat "$work/seen"
if grep -qE '^flags.*(avx512_vnni|avx_vnni)' /proc/cpuinfo; then
    echo "this processor has VNNI, which adds in 32 bits"
    wrong="0 %" sum=64770
else
    wrong="99 %" sum=32767
fi
diff "$work/seen" - <<SEEN
onnxruntime 1.32.0
uint8 x int8 of 8 bits: $wrong of the sums of 256 products are wrong
uint8 x int8 of 7 bits: 0 % of the sums of 256 products are wrong
uint8 x uint8 of 8 bits: 0 % of the sums of 256 products are wrong
int8 x int8 of 8 bits: 0 % of the sums of 256 products are wrong
255 x 127 + 255 x 127 = 64770: $sum
SEEN
