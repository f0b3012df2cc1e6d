"""Layers and contracts that several rooms share: what a backbone promises, and what follows its feature.

Shapes: B clips, C channels, T frames, H W pixels, D width, K classes.
"""

import torch
from torch import Tensor, nn

from videoadapt import distributed
from videoadapt.errors import VideoAdaptError


class FeatureBatchNorm(nn.BatchNorm1d):
    """BatchNorm over features_BD without affine parameters, the first layer of AdaptFormer's and MAE's linear heads.

    With `sync` the batch statistics are those of all ranks together, also in the gradient, on CPU and CUDA; ranks may
    hold different numbers of clips. Without it, or alone, this is `nn.BatchNorm1d`.
    """

    def __init__(self, width: int, sync: bool, eps: float = 1e-6):
        super().__init__(width, eps=eps, affine=False)
        self.sync = sync

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, D) in float32. Raises VideoAdaptError when the statistics would rest on a single clip."""
        assert self.running_mean is not None
        x_BD = input.to(self.running_mean.dtype)  # statistics keep their precision under autocast
        if not self.training:
            return super().forward(x_BD)
        if self.sync and distributed.is_active():
            return self._normalise_over_ranks(x_BD)
        if len(x_BD) == 1:
            raise VideoAdaptError(_batch_of_one("this rank's batch"))
        return super().forward(x_BD)

    def _normalise_over_ranks(self, x_BD: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        wide_BD = x_BD.double()  # E[x^2] - E[x]^2 cancels badly in float32
        count = wide_BD.new_full((1,), len(x_BD))
        sums = distributed.differentiable_sum(torch.cat((count, wide_BD.sum(0), wide_BD.square().sum(0))))
        total = sums[0].detach()
        if total == 1:
            raise VideoAdaptError(_batch_of_one("the batch of all ranks together"))
        mean_D, square_D = (sums[1:] / total).chunk(2)
        var_D = square_D - mean_D.square()
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean_D.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_((var_D * total / (total - 1)).to(self.running_var.dtype), momentum)
            self.num_batches_tracked += 1
        return ((wide_BD - mean_D) * torch.rsqrt(var_D + self.eps)).to(x_BD.dtype)


def _batch_of_one(what: str) -> str:
    return (
        f"batch_norm of the head: {what} holds one clip, whose variance is not defined; "
        "take a larger batch (or one that leaves at least two clips for the last batch), "
        "share statistics over ranks (the head's sync), or leave batch_norm off"
    )


class Head(nn.Module):
    """Feature (B, D) -> logits (B, K): optional BatchNorm without affine, dropout, Linear.

    The Linear's weight starts truncated-normal with `init_std`, times `init_scale`: 0.01 in AdaptFormer's and MAE's heads,
    0.02 x 0.001 in VideoMAE's fine-tuning. Its bias starts at zero.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        batch_norm: bool = True,
        sync: bool = False,
        dropout: float = 0.0,
        init_std: float = 0.01,
        init_scale: float = 1.0,
    ):
        super().__init__()
        self.norm = FeatureBatchNorm(width, sync) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.linear.weight, std=init_std)
        with torch.no_grad():
            self.linear.weight.mul_(init_scale)
        nn.init.zeros_(self.linear.bias)

    def forward(self, feature_BD: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self.linear(self.dropout(self.norm(feature_BD)))

    @torch.no_grad()
    def fold_norm(self) -> None:
        """Fold the BatchNorm's running statistics into the Linear, so that in eval mode the logits stay the same."""
        if isinstance(self.norm, FeatureBatchNorm):
            assert self.norm.running_mean is not None and self.norm.running_var is not None
            self.linear.weight.div_((self.norm.running_var + self.norm.eps).sqrt())
            self.linear.bias.sub_(self.linear.weight @ self.norm.running_mean)
            self.norm = nn.Identity()
