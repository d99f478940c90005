"""Run jobs in order in one background thread."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MAX_BYTES = 64 * 2**20  # of the waiting jobs, unless a single job holds more


class BackgroundWriter:
    """Runs jobs one after the other in a thread of its own.

    After a job fails, no further job runs, and every later call raises its error. Waiting jobs
    still run when the program exits.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="atlas")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._num_bytes = 0
        self._error: Exception | None = None

    def put(self, job: Callable[[], None], num_bytes: int = 0) -> None:
        """Submit a job; wait for earlier ones while more than `MAX_BYTES` of memory wait."""
        while self._waiting and (
            self._waiting[0][0].done() or self._num_bytes + num_bytes > MAX_BYTES
        ):
            self._wait_for_first()
        self._raise()
        self._waiting.append((self._executor.submit(self._run, job), num_bytes))
        self._num_bytes += num_bytes

    def wait(self) -> None:
        """Wait until every job is done."""
        while self._waiting:
            self._wait_for_first()
        self._raise()

    def stop(self) -> None:
        """Finish what waits and end the thread, whether or not a job failed."""
        self._executor.shutdown()

    def _run(self, job: Callable[[], None]) -> None:
        if self._error is None:
            try:
                job()
            except Exception as error:  # raised in the thread that submits jobs
                self._error = error

    def _wait_for_first(self) -> None:
        future, num_bytes = self._waiting.popleft()
        future.result()
        self._num_bytes -= num_bytes

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
