"""The live bar of a running stage, drawn by rich. Import it only where a bar is shown: rich loads slowly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import IO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.spinner import Spinner
from rich.table import Column
from rich.text import Text

_A_SECOND = 5  # times that the bar is drawn
_BAR_WIDTH = 20


class LiveBar:
    """One line at the foot of a terminal: a spinner, stage, bar, counts, and what `elapsed()` says."""

    def __init__(self, stream: IO[str], elapsed: Callable[[], str]) -> None:
        self._console = _Console(file=stream, force_terminal=True, highlight=False)
        spinner = Spinner("dots" if self._console.encoding.startswith("utf") else "line")
        self._bars = Bars(
            _Drawn(lambda task: spinner.render(task.get_time())),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(_BAR_WIDTH, "bright_black", "cyan", "green", "cyan"),
            TextColumn("{task.fields[detail]}", markup=False, table_column=_rest()),
            _Drawn(lambda task: Text(elapsed(), style="dim")),
            console=self._console,
            refresh_per_second=_A_SECOND,
            transient=True,
            expand=True,
            # What others print goes above the bar, but never from a file or a pipe to the terminal.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._id = self._bars.add_task("starting", total=None, detail="")
        self._bars.start()

    def begin(self, stage: str) -> None:
        """Show a stage of which nothing is counted yet."""
        self._bars.tasks[0].total = None
        self._bars.reset(self._id, description=stage, detail="")

    def update(self, done: int, total: int | None, detail: str) -> None:
        """Fill the bar to `done` of `total`; without a total it only moves."""
        self._bars.tasks[0].total = total
        self._bars.update(self._id, completed=done, detail=detail)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        self._bars.stop()


class _Console(Console):
    """Leaves the cursor as it is: a job that is killed could not bring it back."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class _Drawn(ProgressColumn):
    """A column that calls a function each time it is drawn."""

    def __init__(self, draw: Callable[[Task], RenderableType]) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._draw = draw

    def render(self, task: Task) -> RenderableType:
        return self._draw(task)


def _rest() -> Column:
    """A column that takes the width that is left and cuts what does not fit."""
    return Column(no_wrap=True, overflow="ellipsis", ratio=1)
