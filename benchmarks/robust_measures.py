"""Everything that `robust_table` measures of a training, in percent.

Shapes: N clips, D width.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.robust_cell import TESTED_AT_ONCE, Bench, Cell, Enlarged
from benchmarks.robust_clips import KNOWN, SHIFTS, clips_of
from videoadapt.errors import Diverged
from videoadapt.evaluation.adversarial import label_losses
from videoadapt.evaluation.attacks import Attack, attacked
from videoadapt.evaluation.forgetting import bare_backbone, forgetting
from videoadapt.evaluation.unknown import auroc, energy, knn, msp

NEIGHBOURS = 10
PROBED = ("probe_train", "probe_test")
OPPOSITES = [number ^ 1 for number in range(len(KNOWN))]  # motions stand in pairs, each the other one played backwards
ATTACKS = {
    "pgd_linf_1": Attack("linf", 1, "pgd", 10),
    "pgd_linf_4": Attack("linf", 4, "pgd", 10),
    "pgd_l2_1": Attack("l2", 1, "pgd", 10),
    "pgd_linf_4_1_frame": Attack("linf", 4, "pgd", 10, frames=1),
    "fgsm_linf_4": Attack("linf", 4, "fgsm"),
}


def do(bench: Bench, cell: Cell, whole: bool) -> dict[str, Any]:
    """Train a cell and measure it, or its validation accuracy alone; that is 0 where the training diverged."""
    try:
        net = bench.train(cell)
    except Diverged as error:
        return {**asdict(cell), "val": 0.0, "diverged": str(error)}
    found: dict[str, Any] = {**asdict(cell), "val": bench.top1(net, clips_of(bench.folder, "val"), bench.labels("val"))}
    found["trained"] = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return found | (_measured(bench, net, cell) if whole else {})


def _measured(bench: Bench, net: Enlarged, cell: Cell) -> dict[str, Any]:
    """All columns of the table, and what is behind them."""
    labels_N = bench.labels("test")
    clean = clips_of(bench.folder, "test")
    backwards_N = bench.run(net, clean[:, :, ::-1].copy()).argmax(dim=1).cpu().numpy()
    found: dict[str, Any] = {
        "clean": bench.top1(net, clean, labels_N),
        "corrupted": {kind: bench.top1(net, clips_of(bench.folder, "test", kind), labels_N) for kind in bench.kinds},
        "reversed": 100 * float((backwards_N == np.array(OPPOSITES)[labels_N]).mean()),
        "reversed_as_if_forwards": 100 * float((backwards_N == labels_N).mean()),
        "shift": {
            stride: bench.top1(net, clips_of(bench.folder, "test", stride=stride), labels_N) for stride in SHIFTS
        },
        "unknown": _unknown(bench, net),
        "attacks": _under_attack(bench, net),
        "forgetting": _forgotten(bench, net, cell),
    }
    found["mean_corrupted"] = float(np.mean([*found["corrupted"].values()]))
    found["mean_shift"] = float(np.mean([*found["shift"].values()]))
    return found


def _unknown(bench: Bench, net: Enlarged) -> dict[str, float]:
    """AUROC (%) of known against unknown motions, by three scores."""
    test, unknown, val = (clips_of(bench.folder, split) for split in ("test", "unknown", "val"))
    scores = {}
    for name, score in (("msp", msp), ("energy", energy)):
        known_N, unknown_N = ((bench.run(net, clips)) for clips in (test, unknown))
        if name == "msp":
            known_N, unknown_N = known_N.log_softmax(dim=1), unknown_N.log_softmax(dim=1)
        scores[name] = 100 * auroc(score(known_N.cpu().numpy()), score(unknown_N.cpu().numpy()))
    known_D, unknown_D, val_D = (bench.run(net.features, clips).cpu().numpy() for clips in (test, unknown, val))
    scores["knn"] = 100 * auroc(knn(known_D, val_D, NEIGHBOURS), knn(unknown_D, val_D, NEIGHBOURS))
    return scores


def _under_attack(bench: Bench, net: Enlarged) -> dict[str, float]:
    """Accuracy (%) under each attack, on the first test clips of each class, on these without one, and at random."""
    labels_N = bench.labels("test")
    rows = np.flatnonzero(np.arange(len(labels_N)) % (len(labels_N) // len(KNOWN)) < bench.attacked_per_class)
    net.requires_grad_(False)
    clips = np.array(clips_of(bench.folder, "test")[rows])
    found = {"none": bench.top1(net, clips, labels_N[rows])}
    for name, attack in ATTACKS.items():
        generator = torch.Generator(bench.device).manual_seed(0)
        worst, control = [], []
        for part in np.array_split(np.arange(len(rows)), -(-len(rows) // TESTED_AT_ONCE)):
            labels_B = torch.from_numpy(labels_N[rows[part]]).to(bench.device)
            losses = label_losses(net, labels_B, bench.precision, bench.device)
            both = attacked(losses, torch.from_numpy(clips[part]).to(bench.device), attack, generator)
            worst.append(both[0].cpu().numpy())
            control.append(both[1].cpu().numpy())
        found[name] = bench.top1(net, np.concatenate(worst), labels_N[rows])
        if name == "pgd_linf_4":
            found["random_linf_4"] = bench.top1(net, np.concatenate(control), labels_N[rows])
    return found


def _forgotten(bench: Bench, net: Enlarged, cell: Cell) -> dict[str, Any]:
    """Linear probes of the backbone for motions that were not tuned for, and for shapes, which one picture shows."""
    trunk = bench.trunks[cell.trunk]
    bare = bench.build(trunk, {"name": "linear"}).eval()
    before = bench.probed.setdefault(cell.trunk, _probe_features(bench, bare))
    tuned = _probe_features(bench, net)
    bare_backbone(net.classifier.backbone, bare.classifier.backbone)
    removed = _probe_features(bench, bare)
    found = {}
    for task in ("labels", "shapes"):
        truths = [torch.from_numpy(np.load(bench.folder / f"{split}_{task}.npy")) for split in PROBED]
        found["motions" if task == "labels" else task] = forgetting(*truths, before, tuned, removed)._asdict()
    return found


def _probe_features(bench: Bench, net: Enlarged) -> tuple[Tensor, Tensor]:
    train, test = (bench.run(net.backbone_features, clips_of(bench.folder, split)).cpu() for split in PROBED)
    return train, test
