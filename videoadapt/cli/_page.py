"""The options of `demo --serve`, and how its page is begun: what can be wrong is said before the models are opened."""

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from videoadapt.cli._models import open_models

if TYPE_CHECKING:
    from videoadapt.inference.many import Asking
    from videoadapt.models.classifier import Classifier

PORT, WEB = 8000, ("fastapi", "starlette", "uvicorn")


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Add --serve and its limits."""
    page = parser.add_argument_group("page in a browser")
    page.add_argument(
        "--serve", type=int, nargs="?", const=PORT, metavar="PORT",
        help=f"show a page that takes films, on this machine only; default: port {PORT}; 0: any that is free",
    )  # fmt: skip
    page.add_argument("--max-mb", type=float, default=200.0, metavar="MB", help="size of a film; default: 200")
    page.add_argument("--max-sec", type=float, default=600.0, metavar="SECONDS", help="its length; default: 600")
    page.add_argument("--max-waiting", type=int, default=16, metavar="N", help="films that may wait; default: 16")


def show_page(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from videoadapt.errors import VideoAdaptError
    from videoadapt.inference.page.limits import Limits

    limits = Limits(args.max_mb, args.max_sec, args.max_waiting)
    limits.check()
    try:
        from videoadapt.inference.page.serving import serve
    except ModuleNotFoundError as error:
        if error.name not in WEB:
            raise
        raise VideoAdaptError(
            f"--serve: needs {error.name}, which is not installed: pip install 'videoadapt[web]'"
        ) from error
    serve(partial(_open, args), limits, args.serve, args.window_sec, ready=_say)
    return 0


def _say(address: str) -> None:
    sys.stderr.write(f"{address}  (Ctrl-C ends it)\n")
    sys.stderr.flush()


def _open(args: argparse.Namespace) -> "tuple[list[dict[str, str]], Asking, list[Classifier]]":
    """In the process that looks at films."""
    from videoadapt.inference.adapter_bank import AdapterBank
    from videoadapt.models.classifier import Classifier

    sources, opened, asking = open_models(
        args.run, args.adapter, args.weights, args.device, args.compile, args.fps_hz, args.onnx
    )
    models = [*opened.models] if isinstance(opened, AdapterBank) else [opened.model]
    return sources, asking, [model for model in models if isinstance(model, Classifier)]
