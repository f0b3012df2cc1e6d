"""`task: pretrain`: the objective, the picture, and the files that a finished run leaves.

Shapes: B clips, C channels, T frames, H W pixels; N tokens, M of them masked, P values of a tubelet.
"""

import torch
from torch import Tensor, nn

from videoadapt import distributed
from videoadapt.data.structures import ClipBatch
from videoadapt.files import write_atomically
from videoadapt.log import logger
from videoadapt.models.autoencoder import MaskedAutoencoder
from videoadapt.models.loading import save_trunk
from videoadapt.models.masking import draw_tubes, normalised_target, pick, tubelets
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.runs.forward import autocast
from videoadapt.runs.run import Run
from videoadapt.video.transforms import normalise
from videoadapt.weights.files import write_tensors
from videoadapt.weights.formats import to_pretraining


class Reconstruction:
    """Mean squared error on the masked tubelets, whose pixels are normalised one by one (VideoMAE, section 3.1)."""

    def __init__(self, run: Run):
        self._run = run

    def __call__(self, model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the sum of `loss` over the clips."""
        run, autoencoder = self._run, autoencoder_of(self._run)
        clips_BCTHW = batch.clips_BCTHW.to(run.device, non_blocking=True)
        grid_THW = autoencoder.backbone.grid_THW(*clips_BCTHW.shape[2:])
        mask = draw_tubes(len(clips_BCTHW), grid_THW, run.config.pretrain.mask_ratio, generator).to(run.device)
        with autocast(run.config, run.device):
            prediction_BMP = model(normalise(clips_BCTHW, batch.erase), mask)
        target_BMP = normalised_target(pick(tubelets(clips_BCTHW, autoencoder.tubelet), mask.masked_BM).float() / 255)
        return {"loss": (prediction_BMP.float() - target_BMP).square().mean(dim=(1, 2)).sum()}


def leave_trunk(run: Run) -> None:
    """Load what a finished run made, and leave it in its folder: for `model.weights`, and to go on pre-training elsewhere.

    `pretrained.pth` is VideoMAE's own format, with the decoder; `trunk.safetensors` the backbone alone in float16.
    """
    path, model = find_checkpoint(run.folder), autoencoder_of(run)
    assert path is not None, "a finished run has a checkpoint"
    load_result(model, path)
    if not distributed.is_main():
        return
    tensors = to_pretraining(model.state_dict())
    pretrained, trunk = run.folder / "pretrained.pth", run.folder / "trunk.safetensors"
    write_atomically(pretrained, lambda partial: write_tensors(partial, tensors, {}, as_torch=True))
    save_trunk(model.backbone, trunk, {"seed": str(run.config.seed)}, half=True)
    for file in (pretrained, trunk):
        logger.info("model.weights: %s (%.2f MB)", file, file.stat().st_size / 1e6)


def autoencoder_of(run: Run) -> MaskedAutoencoder:
    """The model of a run of `task: pretrain`."""
    assert isinstance(run.model, MaskedAutoencoder), "task pretrain builds an autoencoder"
    return run.model
