"""A trained model in other programs' formats; each export is read back and must give the same logits.

`rates`, of the videos that it was trained on, and the `thresholds` of several labels a video go into the file's metadata.
Programs give logits: with `data.labels` multi in the statement, the probability of a class is the sigmoid of its own.

Shapes: B clips, T frames, H W pixels, K classes.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videoadapt.config.schema import Config
from videoadapt.errors import CheckpointError, ConfigError
from videoadapt.files import write_atomically
from videoadapt.models.adapters import build_adapter
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.runs.adapter_content import about_training
from videoadapt.runs.build import build_seeded_model
from videoadapt.runs.rates import Rates
from videoadapt.runs.statement import Statement
from videoadapt.video.sides import sides_of
from videoadapt.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from videoadapt.weights.files import write_tensors
from videoadapt.weights.formats import to_videomae

# Largest difference of logits, relative to their largest magnitude, that other kernels and another order of the same
# float32 operations may cause; measured with onnxruntime: 5e-7 at the quickstart's size, 8e-7 for ViT-B.
TOLERANCE = 1e-5


class PixelsToLogits(nn.Module):
    """A classifier with the normalisation in front: uint8 clips (B, 3, T, H, W), RGB -> float32 logits (B, K)."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Classifier):
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(-1, 1, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(-1, 1, 1, 1))

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the logits."""
        logits_BK: Tensor = self.model((clips_BCTHW.float() / 255 - self.mean) / self.std)
        return logits_BK


def export_onnx(
    model: Classifier,
    config: Config,
    class_names: Sequence[str],
    out: str | Path,
    rates: Rates | None = None,
    thresholds: Sequence[float] | None = None,
) -> float:
    """Write one ONNX file (any batch size) and return the relative error of onnxruntime's logits.

    Raises ConfigError without the packages of `pip install videoadapt[export]` and for what torch.onnx cannot write,
    CheckpointError when the logits differ.
    """
    out = Path(out)
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise ConfigError(f"{out}: needs the package {error.name}: pip install 'videoadapt[export]'") from error
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > 1.9e9:
        raise ConfigError(f"{out}: {size / 1e9:.1f} GB of weights; one ONNX file holds at most 2 GB: export to .pt2")
    clips = _example(config)
    pixels = PixelsToLogits(model).eval()
    with torch.inference_mode():
        pixels(clips)  # positions are computed on the first call, and must not be traced
    proto = _as_onnx(pixels, clips, out).model_proto
    onnx.helper.set_model_props(proto, _metadata(model, config, class_names, rates, thresholds))
    onnx.checker.check_model(proto)
    write_atomically(out, lambda partial: partial.write_bytes(proto.SerializeToString()))
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return _compare(pixels, lambda x: torch.from_numpy(session.run(["logits"], {"clips": x.numpy()})[0]), config, out)


def _as_onnx(pixels: PixelsToLogits, clips: Tensor, out: Path) -> "torch.onnx.ONNXProgram":
    """The graph for clips of any batch size. Raises ConfigError for what torch.onnx cannot write."""
    try:
        program = torch.onnx.export(
            pixels,
            (clips,),
            dynamo=True,
            input_names=["clips"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"{out}: torch.onnx cannot write this model ({reason}); export to .pt2") from error
    assert program is not None
    return program


def export_torch(
    model: Classifier,
    config: Config,
    class_names: Sequence[str],
    out: str | Path,
    rates: Rates | None = None,
    thresholds: Sequence[float] | None = None,
) -> float:
    """Write a `torch.export` program (any batch size) and return the relative error of its logits when loaded again."""
    out = Path(out)
    clips = _example(config)
    pixels = PixelsToLogits(model).eval()
    with torch.inference_mode():
        pixels(clips)
    program = torch.export.export(pixels, (clips,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    metadata = _metadata(model, config, class_names, rates, thresholds)

    content = io.BytesIO()  # given a file, torch ends the process where that cannot be written
    torch.export.save(program, content, extra_files=metadata)
    write_atomically(out, lambda partial: partial.write_bytes(content.getvalue()))
    with out.open("rb") as file:
        loaded = torch.export.load(file).module()
    return _compare(pixels, loaded, config, out)


def export_merged(
    model: Classifier,
    config: Config,
    class_names: Sequence[str],
    out: str | Path,
    rates: Rates | None = None,
    thresholds: Sequence[float] | None = None,
) -> float:
    """Write the model as one plain state dict and return the relative error when it is loaded again.

    A vit's is a fine-tuned VideoMAE's, another backbone's has our names, and the backbone's own below `backbone`.

    The adapter is merged into the backbone, and the head's BatchNorm, which has no affine part, into its Linear. Changes
    `model`. Raises ConfigError when the adapter cannot be merged exactly.
    """
    out, metadata = Path(out), {"format": "pt", **_metadata(model, config, class_names, rates, thresholds)}
    pixels = PixelsToLogits(model).eval()
    clips = _example(config)
    with torch.inference_mode():
        expected_BK = pixels(clips)
    build_adapter(config.model.adapter).merge(model.backbone)
    model.head.fold_norm()
    is_vit = isinstance(model.backbone, ViT)
    tensors = to_videomae(model.state_dict()) if is_vit else model.state_dict()
    left = [name for name in tensors if is_vit and name.startswith("backbone.")]
    if left:
        raise ConfigError(f"{out}: VideoMAE's layout has no place for {', '.join(left[:3])}; export to .onnx or .pt2")
    write_atomically(out, lambda part: write_tensors(part, tensors, metadata, as_torch=out.suffix == ".pth"))
    plain: dict[str, Any] = {"weights": str(out), "backbone_weights": None, "adapter": {"name": "full"}}
    plain["head"] = config.model.head.model_copy(update={"batch_norm": False})
    reloaded = build_seeded_model(
        config.model_copy(update={"model": config.model.model_copy(update=plain)}), expected_BK.shape[1]
    )
    with torch.inference_mode():
        return _check(expected_BK, PixelsToLogits(reloaded.eval())(clips), out)


def _metadata(
    model: Classifier,
    config: Config,
    class_names: Sequence[str],
    rates: Rates | None,
    thresholds: Sequence[float] | None,
) -> dict[str, str]:
    """What every export says of itself besides its tensors, as json."""
    statement = Statement.of(config, class_names, model)
    return {"statement": statement.as_json(), **about_training(statement, rates, thresholds)}


def _example(config: Config) -> Tensor:
    """Three random clips (a batch of one or two could be taken for a constant): uint8 (3, 3, T, H, W)."""
    shape = (3, 3, config.data.num_frames, *sides_of(config.data.crop_px))
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _compare(ours: nn.Module, theirs: Callable[[Tensor], Tensor], config: Config, out: Path) -> float:
    """Compare on the example and, for the free batch size, on one clip of it."""
    clips = _example(config)
    with torch.inference_mode():
        return max(_check(ours(part), theirs(part), out) for part in (clips, clips[:1]))


def _check(expected_BK: Tensor, found_BK: Tensor, out: Path) -> float:
    error = float((found_BK - expected_BK).abs().max() / expected_BK.abs().max())
    if not error <= TOLERANCE:
        out.unlink()
        raise CheckpointError(
            f"{out}: deleted, because its logits differ by {error:.2g} of their size, above {TOLERANCE}"
        )
    return error
