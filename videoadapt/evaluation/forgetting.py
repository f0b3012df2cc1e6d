"""What a tuning leaves of the features that the backbone had: told by a linear probe on another task, before and after.

A linear probe is a classifier that is linear in frozen features (Alain and Bengio 2017, arXiv 1610.01644, section 3). What it
reads is there for a linear reader; another kind of reader might find more.

Shapes: N clips of the probe's training, M of its test, D width of the features, K classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from videoadapt.models.backbone import Backbone
from videoadapt.weights.formats import plain_name

_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # times the sum of the squares of the weights
_HELD_OUT = 5  # every fifth clip of the training chooses among them


class Forgetting(NamedTuple):
    """Accuracies of a probe in percent: on the backbone as it was, as it is tuned, and with its adapters removed."""

    before: float
    tuned: float
    removed: float
    removed_is_before: bool  # whether the features without adapters are those of before, bit for bit


def bare_backbone(tuned: Backbone, fresh: Backbone) -> Backbone:
    """Give `fresh`, built alike but without adapters, the tensors that the backbone inside `tuned` has now; return it.

    Methods that only add modules leave these as they were: taking their adapters off loses nothing, bit for bit. `full`,
    `bitfit` and `houlsby`, which trains the norms, change them. Raises KeyError where `tuned` is another backbone.
    """
    ours = {plain_name(name): tensor for name, tensor in tuned.state_dict().items()}
    fresh.load_state_dict({name: ours[name] for name in fresh.state_dict()})
    return fresh.train(tuned.training)


def forgetting(
    labels_N: Tensor,
    labels_M: Tensor,
    before: tuple[Tensor, Tensor],
    tuned: tuple[Tensor, Tensor],
    removed: tuple[Tensor, Tensor],
) -> Forgetting:
    """Probe three times for the same labels: features (N, D) and (M, D) of each of the three backbones, in that order."""

    def probed(features: tuple[Tensor, Tensor]) -> float:
        return linear_probe(features[0], labels_N, features[1], labels_M)

    same = all(torch.equal(now, then) for now, then in zip(removed, before, strict=True))
    at_first = probed(before)
    return Forgetting(at_first, probed(tuned), at_first if same else probed(removed), same)


def linear_probe(train_ND: Tensor, labels_N: Tensor, test_MD: Tensor, labels_M: Tensor) -> float:
    """Return the top-1 (%) on the second features of a softmax classifier that is fitted to the first.

    Features are standardised by the mean and deviation of the first. The penalty on the weights is the best of four powers of
    ten on a fifth of the training, with which all of it is then fitted: nothing is drawn, and the test takes no part.
    """
    mean_D, deviation_D = train_ND.double().mean(dim=0), train_ND.double().std(dim=0)
    train_ND, test_MD = ((features.double() - mean_D) / deviation_D.clamp_min(1e-6) for features in (train_ND, test_MD))
    held_N = torch.arange(len(train_ND), device=train_ND.device) % _HELD_OUT == 0
    num_classes = int(max(labels_N.max(), labels_M.max())) + 1

    def score(penalty: float) -> float:
        weights = _fitted(train_ND[~held_N], labels_N[~held_N], num_classes, penalty)
        return _top1(weights, train_ND[held_N], labels_N[held_N])

    return _top1(_fitted(train_ND, labels_N, num_classes, max(_PENALTIES, key=score)), test_MD, labels_M)


def _fitted(features_ND: Tensor, labels_N: Tensor, num_classes: int, penalty: float) -> Tensor:
    """The minimum, (K, D + 1), of mean cross-entropy and penalty: a convex function, so that the start does not matter."""
    weights = features_ND.new_zeros(num_classes, features_ND.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = F.cross_entropy(_logits(weights, features_ND), labels_N) + penalty * weights[:, 1:].square().sum()
        found.backward()
        return found

    with torch.enable_grad():
        optimizer.step(loss)
    return weights.detach()


def _logits(weights: Tensor, features_ND: Tensor) -> Tensor:
    return features_ND @ weights[:, 1:].T + weights[:, 0]


def _top1(weights: Tensor, features_ND: Tensor, labels_N: Tensor) -> float:
    return 100 * float((_logits(weights, features_ND).argmax(dim=1) == labels_N).double().mean())
