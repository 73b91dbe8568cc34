"""Options beside a clip cannot reach out of its folder, nor be anything but options."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.watch.clip_settings import options_of


@pytest.mark.parametrize(
    "text",
    [
        "out: /tmp/x",
        "occluder_masks: ../masks",
        "cameras: /etc/passwd",
        "directions: ../mine.safetensors",
        "directions: [a.npy, /tmp/b.npy]",
        "detector: '3ddfa:../x'",
        "generator: ../g.pkl",
        "input: x",
        "edit: {a: 1}",
        "- a",
        "edit: [",
        "preset: !!python/object/apply:os.system ['true']",
        "seed: x",
    ],
)
def test_side_files_cannot_reach_out(tmp_path: Path, text: str) -> None:
    clip = tmp_path / "a.mp4"
    clip.touch()
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=r"a\.yaml"):
        options_of(clip)


def test_directions_beside_a_clip_are_found_from_anywhere(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.touch()
    (tmp_path / "a.yaml").write_text("directions: [x.npy, sub/y.pt]\nedit: x=1")
    folder = tmp_path.resolve()
    wanted = [f"--directions={folder / 'x.npy'}", f"--directions={folder / 'sub/y.pt'}", "--edit=x=1"]
    assert options_of(clip) == wanted
