"""Parts of one calculation side by side, each in a process of its own.

Not in threads: a resample is a thousand short NumPy calls, between which threads hand Python's lock around,
and two of them take as long as one. Not in `multiprocessing`: its processes import the caller's script,
which goes wrong in a script without `if __name__ == "__main__":`, and a library function should not ask
for that.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Part = TypeVar("Part")
Result = TypeVar("Result")

_PROGRAM = "import ast, sys; sys.path[:] = ast.literal_eval(sys.argv[1]); from {name} import answer; answer()"


def side_by_side(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """[work(part) for part in parts], where each part but the first has a process of its own.

    What a process cannot do (none can be started, it has no memory, it was killed) is done here afterwards,
    so that the result never depends on it.

    Args:    work: done here and, where there are several parts, pickled. parts: small, and pickled.
    Returns: the result of each part.
    Raises:  what `work` raises.
    """
    if len(parts) < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(len(parts) - 1) as waiting:
        others = [waiting.submit(_elsewhere, work, part) for part in parts[1:]]
        first = work(parts[0])
        answers = [other.result() for other in others]
    return [
        first,
        *(answer[0] if answer else work(part) for part, answer in zip(parts[1:], answers, strict=True)),
    ]


def _elsewhere(work: Callable[[Part], Result], part: Part) -> tuple[Result] | None:
    """The result of a process, or None of one that gave none."""
    command = [sys.executable, "-c", _PROGRAM.format(name=__name__), repr(sys.path)]
    try:
        packed = pickle.dumps((work, part), protocol=5)
        done = subprocess.run(command, input=packed, capture_output=True, check=True)  # noqa: S603 - ourselves
        answer: tuple[Result] = pickle.loads(done.stdout)  # noqa: S301 - of our own process
    except (OSError, subprocess.CalledProcessError, EOFError, pickle.UnpicklingError):
        return None
    return answer


def answer() -> None:
    """What the process does: reads the work and its part, and writes the result."""
    work, part = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that started this one
    result: tuple[Any] = (work(part),)
    sys.stdout.buffer.write(pickle.dumps(result, protocol=5))
