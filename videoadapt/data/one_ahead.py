"""Items of an iteration, each made in a thread while the one before it is being used."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import TypeAlias, TypeVar

import torch

Item = TypeVar("Item")
Asked: TypeAlias = "queue.SimpleQueue[Future[Item | None] | None]"


def one_ahead(items: Iterator[Item], stop: Callable[[], None], device: torch.device) -> Generator[Item, None, None]:
    """Yield all `items`, none of which is None; a thread makes each as soon as the one before it is handed over.

    An exception in making one is raised in its place. At the end, early or not, `stop` is called, from any thread: it has to
    wake who waits in making an item. What is made then is dropped, and no thread stays behind.

    On a GPU the thread's current stream is the one that is current here, where the items are used.
    """
    asked: Asked[Item] = queue.SimpleQueue()
    stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
    thread = threading.Thread(target=_make, args=(items, asked, stream), name="one ahead", daemon=True)
    thread.start()
    coming: Future[Item | None] = Future()
    try:
        asked.put(coming)
        while (item := coming.result()) is not None:
            asked.put(coming := Future())
            yield item
    finally:
        del coming  # whose exception has this frame in its traceback
        asked.put(None)
        stop()
        if thread is not threading.current_thread():  # the garbage collector may come here from anywhere
            thread.join()


def _make(items: Iterator[Item], asked: "Asked[Item]", stream: torch.cuda.Stream | None) -> None:
    """What the thread does: make an item for each Future, None behind the last one. None in `asked` ends it."""
    with torch.cuda.stream(stream):
        while (coming := asked.get()) is not None:
            try:
                coming.set_result(next(items, None))
            except BaseException as error:  # noqa: BLE001 - it is raised again in the other thread
                coming.set_exception(error)
