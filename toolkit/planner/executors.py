"""Where the work is done: here, in processes of this machine, or on a Dask cluster.

All three are `concurrent.futures.Executor`; results do not depend on which.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from toolkit.errors import InputError

__all__ = ["EXECUTORS", "SerialExecutor", "completed", "cores", "open_executor"]

EXECUTORS = ("serial", "processes", "dask")

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor(Executor):
    """An executor that does everything at once, in this thread."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Call `fn` and return its result as a future that is done."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def cores() -> int:
    """Return how many processes can run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def open_executor(
    kind: str, *, workers: int | None = None, address: str | None = None
) -> Iterator[tuple[Executor, int]]:
    """Yield an executor and how many workers it has.

    Raises:
        InputError: no such executor, or a cluster that is not there.
    """
    if kind not in EXECUTORS:
        known = ", ".join(EXECUTORS)
        raise InputError.one("--executor", "", f"expected one of {known}", kind)
    if (address is not None) != (kind == "dask"):
        expected = "expected --address together with --executor dask"
        raise InputError.one("--address", "", expected, way_out="such as tcp://127.0.0.1:8786")
    if workers is not None and workers < 1:
        raise InputError.one("--workers", "", "expected at least 1", str(workers))
    if kind == "dask":
        with _dask(str(address)) as opened:
            yield opened
    elif kind == "serial" or (workers or cores()) == 1:
        with SerialExecutor() as executor:
            yield executor, 1
    else:
        with _processes(workers or cores()) as executor:
            yield executor, workers or cores()


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    """Yield a pool of fresh processes, which end with this one whatever ends it."""
    before = {*multiprocessing.active_children(), *threading.enumerate()}
    # Fresh rather than forked: compiled code and DuckDB have threads that a fork loses.
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin
    )
    try:
        yield executor
    except BaseException:
        # The pool is left to notice that its workers are gone: told to shut down, it would wait
        # for them to read what is on the way to them.
        for process in multiprocessing.active_children():
            if process not in before:
                process.terminate()
        for thread in threading.enumerate():
            if thread not in before:
                thread.join(_PATIENCE_S)
        raise
    executor.shutdown()


_PATIENCE_S = 5.0
_LISTEN_S = 0.2


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        distributed = importlib.import_module("distributed")
    except ModuleNotFoundError:
        way_out = "install the extra: pip install 'toolkit[dask]'"
        raise InputError.one("--executor dask", "", "needs distributed", "", way_out) from None
    try:
        client = distributed.Client(address, timeout="5s", set_as_default=False)
    except (OSError, ValueError) as error:
        way_out = "start one with `dask scheduler` and `dask worker`"
        expected = "expected the address of a Dask scheduler"
        raise InputError.one("--address", "", expected, f"{address}: {error}", way_out) from None
    with client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            expected = "expected a Dask cluster with at least one worker"
            raise InputError.one("--address", "", expected, f"none at {address}")
        executor: Executor = client.get_executor(pure=False)
        try:
            yield executor, workers
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def completed(
    executor: Executor, workers: int, work: Callable[[T], R], items: Iterable[T]
) -> Iterator[tuple[T, R]]:
    """Yield each item with its result, as they are done; few are under way at a time."""
    waiting: dict[Future[R], T] = {}
    coming = iter(items)
    while True:
        while len(waiting) < 2 * workers and (item := next(coming, None)) is not None:
            future = executor.submit(work, item)
            waiting[future] = item
            if future.done():  # a serial executor: hand it over before the next begins
                break
        if not waiting:
            return
        # Ctrl-C may reach another thread: this one has to wake up to hear of it.
        done, _ = wait(waiting, timeout=_LISTEN_S, return_when=FIRST_COMPLETED)
        for future in done:
            yield waiting.pop(future), future.result()
