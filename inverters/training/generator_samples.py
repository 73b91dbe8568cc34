"""Pictures that a generator draws of its own random codes, two views of each: for the training of encoders.

`samples.safetensors` holds image [n,V,3,128,128] uint8, ws [n,num_ws,w_dim], cam2world [n,V,4,4] and zoom
[n,V], with the generator's fingerprint. A tenth of the codes are mixed: rows from some layer on are another's
(style mixing), so that w+ is seen as well.
"""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from inverters.errors import CheckpointError
from inverters.generators.eg3d import Generator
from inverters.generators.small_files import write_whole
from inverters.training.code_metric import random_codes
from inverters.training.encoder_batches import SIZE, Views, small
from inverters.training.people_pictures import SPREAD, random_views
from inverters.training.stored_set import zoomed_intrinsics

VIEWS = 2
_MIXED = 0.1
_SEED = 3_700_000_000


@torch.no_grad()
def draw_samples(generator: Generator, codes: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Return the tensors of so many codes."""
    device = generator.backbone.mapping.w_avg.device
    ws = random_codes(generator, codes, rng, SPREAD)[:, None].repeat(1, generator.num_ws, 1)
    for row in range(codes):
        if torch.rand((), generator=rng) < _MIXED:
            layer = int(torch.randint(1, generator.num_ws, (), generator=rng))
            ws[row, layer:] = ws[row - 1, -1]
    cameras, zoom = random_views(codes, rng, VIEWS)
    images = []
    for row in range(codes):
        camera, lens = cameras[row].to(device), zoomed_intrinsics(zoom[row]).to(device)
        planes = generator.planes(ws[row : row + 1])
        seen = generator.render(planes, camera, lens, None, generator.sampling(32, 24)).features[:, :3]
        if seen.shape[-1] != SIZE:
            seen = F.interpolate(seen, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        images.append(((seen.clamp(-1, 1) + 1) * 127.5).round().byte().cpu())
    return {"image": torch.stack(images), "ws": ws.cpu(), "cam2world": cameras, "zoom": zoom}


def make_samples(folder: Path, generator: Generator, pictures: int, seed: int = 0) -> None:
    """Draw the samples into `folder`, unless it has those of this generator; the first tenth is held out."""
    path = folder / "samples.safetensors"
    if GeneratorSamples(folder, generator.card.fingerprint).tensors:
        return
    rng = torch.Generator().manual_seed((_SEED + seed) % 2**32)
    made = draw_samples(generator, -(-pictures // VIEWS), rng)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in made.items()}
    write_whole(path, save(tensors, {"generator": generator.card.fingerprint}))


class GeneratorSamples:
    """The samples of a generator in a folder, in memory."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Read them if they are of the generator with this fingerprint."""
        self.path, self.fingerprint = folder / "samples.safetensors", fingerprint
        self.tensors: dict[str, Tensor] = {}
        self.refresh()

    def __len__(self) -> int:
        return self.tensors["image"].shape[0] if self.tensors else 0

    @property
    def held_out(self) -> int:
        """Number of codes held out, the first ones."""
        return -(-len(self) // 10)

    def refresh(self) -> None:
        """Read the file; raises CheckpointError where it is damaged."""
        if not self.path.exists():
            return
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                if (file.metadata() or {}).get("generator") == self.fingerprint:
                    self.tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"the samples in {self.path} cannot be read ({error})") from error

    def draw(self, count: int, rng: torch.Generator) -> Views:
        """Draw views of codes that are not held out."""
        rows = torch.randint(min(self.held_out, len(self) - 1), len(self), (count,), generator=rng)
        return self.rows(rows, torch.randint(VIEWS, (count,), generator=rng))

    def rows(self, rows: Tensor, views: Tensor) -> Views:
        """Return these views by code and view [n]."""
        t = self.tensors
        image = small(t["image"][rows, views])
        cover = image.new_zeros(len(image), 1, SIZE, SIZE)
        return Views(image, cover, t["cam2world"][rows, views], t["zoom"][rows, views], t["ws"][rows])
