"""`task: pretrain`: the objective of masked pre-training, and the files that a finished run leaves.

Shapes: B clips, C channels, T frames, H W pixels; M predicted tokens, P values of a tubelet.
"""

import torch
from torch import Tensor, nn

from videoadapt import distributed, logger
from videoadapt.data.structures import ClipBatch
from videoadapt.files import write_atomically
from videoadapt.models.autoencoder import MaskedAutoencoder
from videoadapt.models.loading import save_backbone
from videoadapt.models.masking import draw_tubes, normalised_target, pick, run_cells, tubelets
from videoadapt.runs.folder import find_checkpoint, load_result
from videoadapt.runs.forward import Precision, autocast
from videoadapt.runs.run import Run
from videoadapt.video.transforms import normalise
from videoadapt.weights.files import write_tensors
from videoadapt.weights.formats import to_pretraining


class Reconstruction:
    """Mean squared error on the masked tubelets, the pixels of each normalised by its own mean and standard deviation.

    Equation 1 of VideoMAE (arXiv 2203.12602) with tube masking (section 3.3). With a `decoder_mask_ratio`, only of those that
    VideoMAE V2's running cells keep; a clip's loss is the mean over them.
    """

    def __init__(
        self,
        autoencoder: MaskedAutoencoder,
        mask_ratio: float,
        *,
        decoder_mask_ratio: float | None = None,
        precision: Precision = "fp32",
        device: torch.device | None = None,
    ):
        """`autoencoder` says how a clip is cut into tokens; `device` is the model's, None: the CPU."""
        self._autoencoder, self._mask_ratio, self._precision = autoencoder, mask_ratio, precision
        self._device, self._decoder_mask_ratio = device or torch.device("cpu"), decoder_mask_ratio

    def __call__(self, model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the sum of `loss` over the B clips; labels are not used.

        `model` is the autoencoder, as it is or wrapped: normalised clips and a mask -> (B, M, P). The masks are drawn from
        `generator`.
        """
        clips_BCTHW = batch.clips_BCTHW.to(self._device, non_blocking=True)
        grid_THW = self._autoencoder.backbone.grid_THW(*clips_BCTHW.shape[2:])
        mask = draw_tubes(len(clips_BCTHW), grid_THW, self._mask_ratio, generator)
        if self._decoder_mask_ratio is not None:
            mask = run_cells(mask, grid_THW, self._decoder_mask_ratio, generator)
        mask = mask.to(self._device)
        with autocast(self._precision, self._device):
            prediction_BMP = model(normalise(clips_BCTHW, batch.erase), mask)
        pixels_BMP = pick(tubelets(clips_BCTHW, self._autoencoder.tubelet), mask.predicted_BM)
        error_BMP = (prediction_BMP.float() - normalised_target(pixels_BMP.float() / 255)).square()
        if mask.counted_BM is None:
            return {"loss": error_BMP.mean(dim=(1, 2)).sum()}
        counted_BM = mask.counted_BM.float()
        return {"loss": ((error_BMP.mean(2) * counted_BM).sum(1) / counted_BM.sum(1)).sum()}


def leave_backbone(run: Run) -> None:
    """Load what a finished run made, and leave it in its folder: for `model.weights`, and to continue elsewhere.

    `pretrained.pth` is VideoMAE's own format, with the decoder; `trunk.safetensors` the backbone alone in float16.
    """
    path, model = find_checkpoint(run.folder), autoencoder_of(run)
    assert path is not None, "a finished run has a checkpoint"
    load_result(model, path, run.statement)
    if not distributed.is_main():
        return
    tensors = to_pretraining(model.state_dict())
    pretrained, backbone = run.folder / "pretrained.pth", run.folder / "trunk.safetensors"
    write_atomically(pretrained, lambda partial: write_tensors(partial, tensors, {}, as_torch=True))
    save_backbone(model.backbone, backbone, {"seed": str(run.config.seed)}, half=True)
    for file in (pretrained, backbone):
        logger.info("model.weights: %s (%.2f MB)", file, file.stat().st_size / 1e6)


def autoencoder_of(run: Run) -> MaskedAutoencoder:
    """The model of a run of `task: pretrain`."""
    assert isinstance(run.model, MaskedAutoencoder), "task pretrain builds an autoencoder"
    return run.model
