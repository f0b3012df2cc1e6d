"""Run a config: train and test, or pre-train: `python tools/run_net.py --cfg configs/hmdb51_adapt.yaml [key value ...]`."""

import argparse
import os
import shlex
import sys

EXIT_ERROR, EXIT_UNREADABLE, EXIT_INTERRUPTED = 2, 3, 130


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Rerun with the same `output` to go on where a run stopped. `train.enable false` only tests. "
        "Exit codes: 0 done, 2 an error you can mend, 3 unreadable test videos, 130 stopped by a signal.",
    )
    parser.add_argument("--cfg", required=True, metavar="YAML", help="configuration file, see configs/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key value", help="values to change, e.g. optim.lr_per_256 0.05"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.errors import Interrupted, VideoAdaptError

    try:
        from videoadapt.config.loading import load_config

        config = load_config(args.cfg, args.overrides)
        from videoadapt import distributed
        from videoadapt.execution import execute, too_many_unreadable

        with distributed.process_group():
            run, results = execute(config)
            if results is None or not distributed.is_main():
                return 0
    except Interrupted as stop:
        sys.stderr.write(f"{stop}\n")
        return EXIT_INTERRUPTED
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("stopped at once; run the same command again to go on from the last checkpoint\n")
        return EXIT_INTERRUPTED
    python = os.path.relpath(sys.executable) if sys.prefix.startswith(os.getcwd()) else "python"
    demo = shlex.join([python, "tools/demo.py", str(run.splits.test[0].path), "--run", str(run.folder)])
    sys.stdout.write(
        f"top-1 {results['top1']:.2f} %  top-5 {results['top5']:.2f} %  mean class {results['mean_class']:.2f} %  "
        f"({results['num_videos']} videos x {results['num_views']} views)\n"
        f"files: {run.folder}\n"
        f"next:  {demo}\n"
    )
    problem = too_many_unreadable(run, results)
    if not problem:
        return 0
    sys.stderr.write(f"error: {problem}\n")
    return EXIT_UNREADABLE
