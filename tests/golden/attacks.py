"""Makes attacks.npz: what foolbox 3.3.4 (MIT) and torchattacks 3.5.1 (MIT) make of two clips, and the model that they attack.

It needs the two of them, foolbox's eagerpy 0.30.0, and torch, in an environment of their own. Made with torch 2.11.0 on a
processor. foolbox begins where we tell it, so that its start is ours; torchattacks, which knows pixels from 0 to 1 and pictures
only, begins at the clean clips, and its model is told the levels and the shape of a clip again.
"""

from pathlib import Path

import eagerpy
import foolbox
import numpy as np
import torch
import torchattacks

LINF, L2, STEPS = 8.0, 6.0, 20  # levels; the steps are 2.5 x budget / STEPS, of L-inf one whole level
SHAPE = 2, 3, 4, 10, 12

drawn = torch.Generator().manual_seed(3)
weights = {
    "conv": torch.randn(6, 3, 3, 3, 3, generator=drawn) / 9,
    "linear": torch.randn(5, 6 * 2 * 8 * 10, generator=drawn) / 30,
}
clips = torch.randint(-60, 316, SHAPE, generator=drawn).clamp(0, 255).float()  # black and white ones among them
labels = torch.tensor([1, 4])
start_linf = torch.randint(-8, 9, SHAPE, generator=drawn).float()
direction = torch.randn(SHAPE, generator=drawn)
num_values = clips[0].numel()
start_l2 = 0.9 * L2 * num_values**0.5 * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)


def logits(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """A convolution over space and time, a tanh, and five classes, of grey levels."""
    found = torch.nn.functional.conv3d((clips_BCTHW - 128) / 64, weights["conv"]).tanh()
    return found.flatten(1) @ weights["linear"].T


class Net(torch.nn.Module):
    """The same for foolbox, or with `pictures` for torchattacks."""

    def __init__(self, pictures: bool = False):
        super().__init__()
        self.pictures = pictures

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return logits(255 * inputs.reshape(SHAPE) if self.pictures else inputs)


def by_foolbox(attack: foolbox.attacks.base.Attack, epsilon: float, start: torch.Tensor | None = None) -> np.ndarray:
    """The attacked clips, in levels."""
    if start is not None:
        attack.get_random_start = lambda x0, epsilon: x0 + eagerpy.astensor(start)
    model = foolbox.PyTorchModel(Net().eval(), bounds=(0, 255), device="cpu")
    return attack.run(model, clips, foolbox.criteria.Misclassification(labels), epsilon=epsilon).detach().numpy()


def by_torchattacks(attack: torchattacks.attack.Attack) -> np.ndarray:
    """The attacked clips, in levels."""
    pictures = clips.reshape(2, 12, 10, 12) / 255
    return 255 * attack(pictures, labels).detach().reshape(SHAPE).numpy()


radius, net, fast = L2 * num_values**0.5, Net(pictures=True).eval(), foolbox.attacks
made = {
    "foolbox_fgsm_linf": by_foolbox(fast.LinfFastGradientAttack(), LINF),
    "foolbox_fgsm_l2": by_foolbox(fast.L2FastGradientAttack(), radius),
    "foolbox_pgd_linf": by_foolbox(fast.LinfPGD(rel_stepsize=2.5 / STEPS, steps=STEPS), LINF, start_linf),
    "foolbox_pgd_l2": by_foolbox(fast.L2PGD(rel_stepsize=2.5 / STEPS, steps=STEPS), radius, start_l2),
    "torchattacks_fgsm_linf": by_torchattacks(torchattacks.FGSM(net, eps=LINF / 255)),
    "torchattacks_pgd_linf": by_torchattacks(
        torchattacks.PGD(net, LINF / 255, 2.5 * LINF / STEPS / 255, STEPS, random_start=False)
    ),
    "torchattacks_pgd_l2": by_torchattacks(
        torchattacks.PGDL2(net, radius / 255, 2.5 * radius / STEPS / 255, STEPS, random_start=False)
    ),
}
inputs = {**weights, "clips": clips.to(torch.uint8), "labels": labels, "start_linf": start_linf, "start_l2": start_l2}
np.savez_compressed(Path(__file__).with_suffix(".npz"), **{k: v.numpy() for k, v in inputs.items()}, **made)
