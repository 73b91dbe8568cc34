"""Deinterlace decoded frames: one progressive frame for each, at its time."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.filter import Graph
from av.video.frame import VideoFrame

_FILTER = "mode=send_frame:deint=interlaced"


def deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield as many frames, those flagged as interlaced filled in by `bwdif` from the frames beside them.

    Frames that are not flagged pass as they are. The first and last frame have a neighbour on one side only.
    """
    graph: Graph | None = None
    shape: tuple[int, int, str] | None = None
    for count, frame in enumerate(frames):
        if graph is None or shape != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _rest(graph)
            shape = (frame.width, frame.height, frame.format.name)
            graph = _graph(frame)
        frame.pts = count  # the filter drops frames without increasing stamps
        graph.vpush(frame)
        yield from _ready(graph)
    if graph is not None:
        yield from _rest(graph)


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        ),
        graph.add("bwdif", _FILTER),
        graph.add("buffersink"),
    ).configure()
    return graph


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except av.FFmpegError:  # nothing is ready, or all was given
            return


def _rest(graph: Graph) -> Iterator[VideoFrame]:
    graph.vpush(None)
    yield from _ready(graph)
