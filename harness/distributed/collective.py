"""What the processes that train one trial together ask of each other; a process on its own is the plain case.

Everything that is random or averaged is decided for the whole batch before it is divided: seeds come from an episode's
place in the batch, weights from the whole minibatch. So the number of workers changes who computes, not what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Collective(Protocol):
    """`size` workers, this one is number `rank`. `gather` is called by all of them or by none."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def gather(self, value: T) -> list[T]:
        """Everyone's value, by rank."""
        ...


class Alone:
    """The only worker there is."""

    rank, size = 0, 1

    def gather(self, value: T) -> list[T]:
        return [value]


class ProcessGroup:
    """The workers of `torch.distributed`'s default group.

    Values travel as pickled objects over a gloo group of their own (on CPU, whatever the gradients use).
    """

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._group = dist.new_group(backend="gloo") if dist.get_backend() != "gloo" else dist.group.WORLD

    def gather(self, value: T) -> list[T]:
        import torch.distributed as dist

        everyones: list[Any] = [None] * self.size
        dist.all_gather_object(everyones, value, group=self._group)
        return everyones


ALONE = Alone()


def share(workers: Collective, items: Sequence[T]) -> list[T]:
    """This worker's items: every `size`-th, so that neighbours (of like length, of one question) are spread."""
    return list(items[workers.rank :: workers.size])


def reunite(workers: Collective, mine: Sequence[T]) -> list[T]:
    """What each made of its `share`, in the order of the whole."""
    parts = workers.gather(list(mine))
    return [x for row in zip_longest(*parts, fillvalue=_NOTHING) for x in row if x is not _NOTHING]


def rounds(workers: Collective, items: Sequence[T]) -> Iterator[tuple[T, bool]]:
    """This worker's items, and as many rounds on every worker: (item, whether it counts).

    Sharded weights are gathered by all workers together, so a worker without an item left repeats the last (the
    smallest micro-batch); nothing of that round may count.
    """
    for first in range(0, len(items), workers.size):
        at = first + workers.rank
        yield (items[at], True) if at < len(items) else (items[-1], False)


def totals(workers: Collective, mine: Sequence[float]) -> list[float]:
    """Sums over workers, in order of rank: the same bits on every worker."""
    return [sum(column) for column in zip(*workers.gather(list(mine)), strict=True)]


_NOTHING: Any = object()
