"""Work that one thread does in the background, in the order in which it was given."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST_BYTES = 64 * 2**20  # of what waits, unless one job alone holds more


class Background:
    """Runs jobs one after the other in a thread of its own.

    After a job that failed none is run, and its error is raised by every call from then on. Jobs
    that wait are still run when the program ends.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="atlas")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._num_bytes = 0
        self._error: Exception | None = None

    def put(self, job: Callable[[], None], num_bytes: int = 0) -> None:
        """Give a job; waits for earlier ones while more than `MOST_BYTES` of memory wait."""
        while self._waiting and (
            self._waiting[0][0].done() or self._num_bytes + num_bytes > MOST_BYTES
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
            except Exception as error:  # raised in the thread that gave the job
                self._error = error

    def _wait_for_first(self) -> None:
        future, num_bytes = self._waiting.popleft()
        future.result()
        self._num_bytes -= num_bytes

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
