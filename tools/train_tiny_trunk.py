"""Train the trunk in the package on motions rendered on the device: `python tools/train_tiny_trunk.py OUT.safetensors`."""

import argparse
import sys
import time
from pathlib import Path

UPDATES_PER_EPOCH, LOG_EVERY = 500, 100


def main(arguments: list[str] | None = None) -> int:
    """Train by configs/tiny_trunk.yaml and write the trunk; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="safetensors file to write, in float16")
    parser.add_argument("overrides", nargs="*", metavar="key value", help="values of the config to change")
    args = parser.parse_args(arguments)
    import torch
    from torch.nn import functional as F

    from videoadapt.config import load_config
    from videoadapt.errors import VideoAdaptError
    from videoadapt.log import progress
    from videoadapt.motions import MOTIONS
    from videoadapt.optim import build_optimizer, learning_rate, set_learning_rate
    from videoadapt.rendered import draw_clips
    from videoadapt.run import build_seeded_model, choose_device, forward
    from videoadapt.weights import save_trunk

    try:
        config = load_config(Path("configs/tiny_trunk.yaml"), args.overrides)
        device = choose_device(config.device)
        motions = list(MOTIONS["trunk"])
        model = build_seeded_model(config, len(motions)).to(device)
        optimizer = build_optimizer(model, model.backbone.depth, config.optim)
        generator = torch.Generator().manual_seed(config.seed)
        batch_size, updates = config.train.batch_size, config.train.epochs * UPDATES_PER_EPOCH
        right, start = torch.zeros(updates, device=device), time.perf_counter()
        with progress("train", updates, "updates") as line:
            for step in range(updates):
                lr = learning_rate(step, UPDATES_PER_EPOCH, config.train.epochs, batch_size, config.optim)
                set_learning_rate(optimizer, lr)
                clips_BCTHW, labels_B = draw_clips(motions, batch_size, config.data, generator, device)
                logits_BK = forward(model, config, device, clips_BCTHW)
                F.cross_entropy(logits_BK, labels_B).backward()
                optimizer.step()
                optimizer.zero_grad()
                right[step] = (logits_BK.argmax(dim=1) == labels_B).float().mean()
                if (step + 1) % LOG_EVERY == 0:
                    line.advance(f"top-1 {100 * right[step + 1 - LOG_EVERY : step + 1].mean():.1f} %", LOG_EVERY)
        # no clip is drawn twice and nothing is dropped out, so the last updates' accuracy is that on unseen clips
        top1, took = 100 * float(right[-100:].mean()), time.perf_counter() - start
        about = {"motions": " ".join(motions), "updates": str(updates), "top1": f"{top1:.2f}"}
        save_trunk(model.backbone, args.out, about, half=True)
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(
        f"{args.out}: {args.out.stat().st_size:,} bytes; top-1 {top1:.2f} % of the last {len(right[-100:]) * batch_size:,} "
        f"clips, none seen before; {updates:,} updates in {took:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
