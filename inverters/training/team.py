"""Several processes that train one generator on a CPU: each draws people, their gradients are averaged.

Threads of one process wait for each other in a step of many small operations; processes do not.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_MOST = 4


def team_size(asked: int, device: torch.device) -> int:
    """Return the number of processes for `asked`; 0 is one a core on a CPU, at most 4, and one on a GPU."""
    if device.type != "cpu":
        return 1
    return asked or min(_MOST, len(os.sched_getaffinity(0)))


class Team:
    """One process of a team; rank 0 leads. All must call the same methods in the same order."""

    def __init__(self, rank: int, size: int, meeting: str) -> None:
        """meeting: a file that does not exist yet, by which the processes find each other."""
        self.rank, self.size = rank, size
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the team is on this machine
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)

    def lead(self, go_on: bool, rate: float) -> tuple[bool, float]:
        """Return what rank 0 says: whether there is another step, and its learning rate."""
        said = torch.tensor([float(go_on), rate], dtype=torch.float64)
        dist.broadcast(said, 0)
        return bool(said[0]), float(said[1])

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients of parameters by their mean over the team."""
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.permute(_order(g)).reshape(-1) for g in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for g, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            dense = g.permute(_order(g))
            dense.copy_(part.view(dense.shape))

    def leave(self) -> None:
        """End the connection."""
        dist.destroy_process_group()


def _order(tensor: Tensor) -> tuple[int, ...]:
    """Dimensions from the largest stride to the smallest, in which a dense tensor lies in memory."""
    strides = tensor.stride()
    return tuple(sorted(range(tensor.ndim), key=lambda d: -strides[d]))


def start_team(size: int, target: Any, arguments: tuple[Any, ...]) -> tuple[Team, list[BaseProcess]]:
    """Start the other processes of a team, and return this one's place in it and the processes.

    Args:
        size: processes with this one.
        target: called in each with `arguments`, rank, size and meeting; it makes a `Team` of them.
        arguments: can be pickled.
    """
    folder = tempfile.mkdtemp(prefix="invid-team-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    meeting = str(Path(folder) / "meeting")
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = [
        context.Process(target=target, args=(*arguments, rank, size, meeting), daemon=True)
        for rank in range(1, size)
    ]
    for process in processes:
        process.start()
    return Team(0, size, meeting), processes


def settle_in(size: int) -> None:
    """Prepare a process that rank 0 has started: its share of the cores; signals are left to rank 0."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // size))
