"""VideoMAE's asymmetric autoencoder: the backbone sees the visible tokens only, a small decoder predicts the masked ones.

Shapes: B clips, C channels, T frames, H W pixels, D width; N tokens, V of them visible and M predicted; P values of a tubelet.
"""

from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videoadapt.models.backbones._layers import Block, QKVLinear
from videoadapt.models.backbones.vit import ViT, sinusoid_positions
from videoadapt.models.masking import Mask, Tubelet, pick, tubelets

_TOKEN_STD = 0.02


class DecoderSize(NamedTuple):
    """Dimensions of one published (or, for `tiny`, our own) decoder."""

    width: int
    num_heads: int
    depth: int


DECODERS = {  # by model.backbone.size
    "tiny": DecoderSize(128, 4, 8),
    "small": DecoderSize(192, 3, 4),
    "base": DecoderSize(384, 6, 4),
    "large": DecoderSize(512, 8, 12),
    "huge": DecoderSize(640, 8, 12),
    "giant": DecoderSize(512, 8, 4),
}


class MaskedAutoencoder(nn.Module):
    """Clips and a mask in, a prediction of the masked tubelets out (arXiv 2203.12602, section 3).

    The mask token starts normal with 0.02. VideoMAE's code cuts that at one deviation (`mask_token_cut` 1), so that the
    deviation of what is left is 0.0108.
    """

    def __init__(self, backbone: ViT, decoder: DecoderSize, mask_token_cut: float | None = None):
        super().__init__()
        self.backbone = backbone
        self.norm = nn.LayerNorm(backbone.width, eps=backbone.eps)
        self.encoder_to_decoder = nn.Linear(backbone.width, decoder.width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder.width))
        num_values = backbone.patch_embed.weight[0].numel()
        self.decoder = Decoder(decoder, backbone.mlp_ratio, backbone.eps, num_values)
        for module in (*self.backbone.modules(), *self.decoder.modules()):
            if isinstance(module, nn.Linear | QKVLinear):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        bound = 2.0 if mask_token_cut is None else mask_token_cut * _TOKEN_STD  # 2.0 is a hundred deviations
        nn.init.trunc_normal_(self.mask_token, std=_TOKEN_STD, a=-bound, b=bound)

    @property
    def tubelet(self) -> Tubelet:
        """Frames, height and width of what one token stands for."""
        return self.backbone.tubelet_frames, self.backbone.patch_px, self.backbone.patch_px

    def forward(self, clip_BCTHW: Tensor, mask: Mask) -> Tensor:
        """Return the prediction (B, M, P) for the tokens `mask.predicted_BM`, in their order."""
        x_BVD = self.encoder_to_decoder(self.norm(self.encode(clip_BCTHW, mask)))
        num_tokens = prod(self.backbone.grid_THW(*clip_BCTHW.shape[2:]))
        prediction_BMP: Tensor = self.decoder(x_BVD, self.mask_token, mask, num_tokens)
        return prediction_BMP

    def encode(self, clip_BCTHW: Tensor, mask: Mask) -> Tensor:
        """Run the backbone over the visible tokens alone: (B, V, D), before the final norm."""
        embed, grid_THW = self.backbone.patch_embed, self.backbone.grid_THW(*clip_BCTHW.shape[2:])
        patches_BVP = pick(tubelets(clip_BCTHW, self.tubelet), mask.visible_BV)
        # the patch kernel as a linear map of single tubelets: a convolution would compute all of them
        x_BVD = F.linear(patches_BVP, embed.weight.permute(0, 2, 3, 4, 1).flatten(1), embed.bias)
        x_BVD = x_BVD + self.backbone.positions(grid_THW, x_BVD.device).to(x_BVD.dtype)[mask.visible_BV]
        for block in self.backbone.blocks:
            x_BVD = block(x_BVD)
        return x_BVD


class Decoder(nn.Module):
    """Narrow blocks over visible tokens and then those to predict; a norm and a linear head on the latter."""

    def __init__(self, size: DecoderSize, mlp_ratio: float, eps: float, num_values: int):
        super().__init__()
        self.width = size.width
        self.blocks = nn.ModuleList(Block(size.width, size.num_heads, mlp_ratio, eps, 0.0) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=eps)
        self.head = nn.Linear(size.width, num_values)
        nn.init.zeros_(self.head.bias)
        self._positions_ND = torch.empty(0, size.width)  # fixed, so neither a parameter nor in the state dict

    def forward(self, x_BVD: Tensor, token_11D: Tensor, mask: Mask, num_tokens: int) -> Tensor:
        """Return (B, M, P); `num_tokens`: how many the whole clip has."""
        if len(self._positions_ND) != num_tokens or self._positions_ND.device != x_BVD.device:
            self._positions_ND = sinusoid_positions(num_tokens, self.width).to(x_BVD.device)
        positions_ND = self._positions_ND.to(x_BVD.dtype)
        x_BMD = token_11D.to(x_BVD.dtype) + positions_ND[mask.predicted_BM]
        x_BND = torch.cat((x_BVD + positions_ND[mask.visible_BV], x_BMD), dim=1)
        for block in self.blocks:
            x_BND = block(x_BND)
        prediction_BMP: Tensor = self.head(self.norm(x_BND[:, x_BVD.shape[1] :]))
        return prediction_BMP
