"""The page for as long as its command runs: a socket on this machine, a private folder for uploads, and the end of both."""

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn

from videoadapt.errors import ConfigError
from videoadapt.inference.page.app import build_app
from videoadapt.inference.page.desk import Desk
from videoadapt.inference.page.limits import Limits
from videoadapt.inference.page.looking import Looker, Open
from videoadapt.processes.signals import ended_by_signal

HOST = "127.0.0.1"


def serve(
    open_models: Open, limits: Limits, port: int, window_sec: float | None, ready: Callable[[str], object]
) -> None:
    """Answer until Ctrl-C; `ready` is told the address. Port 0: any that is free. `window_sec`: None, the trained length.

    Raises ConfigError for a port that is taken, and VideoAdaptError where the models cannot be opened.
    """
    with (
        closing(_listening(port)) as listening,
        ended_by_signal(),
        TemporaryDirectory(prefix="videoadapt-page-") as folder,
        closing(Desk(Looker(open_models, limits, window_sec), limits)) as desk,
    ):
        who = desk.who()
        app = build_app(desk, who, limits, Path(folder), lambda: server.should_exit)
        settings = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(settings)
        ready(f"http://{HOST}:{listening.getsockname()[1]}")
        server.run([listening])


def _listening(port: int) -> socket.socket:
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen()
    except (OSError, OverflowError) as error:
        made.close()
        raise ConfigError(f"--serve {port}: {error}; name another port, or 0 for any that is free") from error
    return made
