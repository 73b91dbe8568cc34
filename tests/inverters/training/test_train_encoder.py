"""Training of encoders on a tiny generator: it resumes, and what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inverters.encoders.encoder_file import load_encoder
from inverters.encoders.table import see
from inverters.errors import CheckpointError, InverterError
from inverters.generators.eg3d import Generator
from inverters.rendering.cameras import default_intrinsics, look_at
from inverters.training.code_metric import CodeMetric, code_metric, random_codes
from inverters.training.covered_people import CoveredPeople, covered_path
from inverters.training.encoder_batches import SIZE, Views, covered_views, framed, lay_over, stored_views
from inverters.training.encoder_figures import mask_iou
from inverters.training.encoder_settings import BOUNDS, EncoderSettings
from inverters.training.generator_samples import GeneratorSamples, make_samples
from inverters.training.people_pictures import NUM_PARAMETERS, PARAMETERS
from inverters.training.stored_set import StoredPeople, part_path, write_part
from inverters.training.train_encoder import EncoderTrainer
from tests.inverters.tiny import tiny_generator
from tests.inverters.training.conftest import balls

QUICK = EncoderSettings(
    minutes=1e-6,
    batch=2,
    picture_people=1,
    pictures_from=0,
    picture_side=8,
    refit=2,
    covers=0,
    samples=4,
    nice=0,
)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def named() -> Generator:
    """A generator whose z has the parameters of people."""
    return tiny_generator(tuple(p.name for p in PARAMETERS), z_dim=NUM_PARAMETERS + 4)


def covered_part(people: int = 2, views: int = 3) -> dict[str, torch.Tensor]:
    """A part of flat grey people behind a white square."""
    rng = torch.Generator().manual_seed(0)
    image = torch.full((people, views, 3, SIZE, SIZE), 100, dtype=torch.uint8)
    cover = torch.zeros(people, views, SIZE, SIZE, dtype=torch.uint8)
    image[..., 40:80, 40:80], cover[..., 40:80, 40:80] = 255, 255
    cameras = look_at(torch.linspace(-0.4, 0.4, people * views), torch.zeros(people * views))
    return {
        "scores": torch.randn(people, NUM_PARAMETERS, generator=rng),
        "kind": torch.arange(people),
        "image": image,
        "cover": cover,
        "cam2world": cameras.reshape(people, views, 4, 4),
        "zoom": torch.ones(people, views),
    }


@pytest.fixture
def covered(tmp_path: Path) -> CoveredPeople:
    (tmp_path / "covered").mkdir()
    for number in (0, 1):
        save_file(covered_part(), covered_path(tmp_path / "covered", number))
    return CoveredPeople(tmp_path / "covered")


def test_a_run_goes_on_and_is_written(generator: Generator, tmp_path: Path) -> None:
    first = EncoderTrainer("e4e-mask", generator, tmp_path, QUICK)
    assert first.run() and first.step == 1
    rows = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert {"step", "psnr", "psnr_mean", "code", "l2"} <= rows[-1].keys()
    assert list((tmp_path / "pictures").glob("*.png"))
    again = EncoderTrainer("e4e-mask", generator, tmp_path, QUICK)
    assert again.step == 1
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, first.network.state_dict()[name]), name
    again.run()
    assert again.step == 2
    again.export(tmp_path / "mine.safetensors")
    found = load_encoder(tmp_path / "mine.safetensors")
    assert found.card.fingerprint == "tiny" and found.card.reports["training"]["steps"] == 2
    images = torch.rand(2, 3, 32, 32)
    again.network.eval()
    with torch.no_grad():
        wanted = see(again.network, images).offsets
    torch.testing.assert_close(found.see(images).offsets, wanted, atol=2e-3, rtol=2e-2)


def test_a_run_of_another_generator_or_encoder_is_not_gone_on_with(
    generator: Generator, tmp_path: Path
) -> None:
    EncoderTrainer("e4e-mask", generator, tmp_path, QUICK).save()
    with pytest.raises(CheckpointError, match="the run of encoder 'e4e-mask', not of 'psp'"):
        EncoderTrainer("psp", generator, tmp_path, QUICK)
    other = tiny_generator()
    other.card = replace(other.card, fingerprint="other")
    with pytest.raises(CheckpointError, match="is for generator tiny, the generator in use is other"):
        EncoderTrainer("e4e-mask", other, tmp_path, QUICK)


def test_a_run_for_a_new_generator_begins_at_the_old_ones_encoder(
    generator: Generator, tmp_path: Path
) -> None:
    old = EncoderTrainer("e4e-mask", generator, tmp_path / "old", QUICK)
    old.export(tmp_path / "old.safetensors")
    other = tiny_generator()
    other.card = replace(other.card, fingerprint="other")
    new = EncoderTrainer("e4e-mask", other, tmp_path / "new", QUICK, start=tmp_path / "old.safetensors")
    for name, value in new.network.state_dict().items():
        torch.testing.assert_close(value, old.network.state_dict()[name], atol=1e-3, rtol=1e-2)
    assert new.export(tmp_path / "new.safetensors").fingerprint == "other"
    with pytest.raises(CheckpointError, match="is an encoder e4e-mask of other sizes than this psp"):
        EncoderTrainer("psp", other, tmp_path / "psp", QUICK, start=tmp_path / "old.safetensors")


def test_too_few_rows_for_an_encoder(generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"goae-w\+ cannot be made for generator .* 7 rows"):
        EncoderTrainer("goae-w+", generator, tmp_path, QUICK)


def test_nothing_to_learn_from(generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is nothing to learn from"):
        EncoderTrainer("e4e-mask", generator, tmp_path, replace(QUICK, samples=0)).prepare()


def test_people_and_covers_are_learned_from(named: Generator, tmp_path: Path, covered: CoveredPeople) -> None:
    write_part(tmp_path / "people", 1, lambda: balls(3, 1))
    write_part(tmp_path / "people", 0, lambda: balls(3, 2))
    settings = replace(QUICK, batch=12, samples=2)
    trainer = EncoderTrainer("e4e-mask", named, tmp_path, settings, tmp_path / "people")
    trainer.prepare()
    rng = torch.Generator().manual_seed(0)
    image, cover, ws, first = trainer.pictures(rng)
    assert image.shape == (12, 3, SIZE, SIZE) and ws.shape == (12, named.num_ws, 16)
    assert (cover.amax((1, 2, 3)) > 0.5).float().mean() > 0.25 and first.cover.max() == 0
    found = trainer.losses(torch.float32)
    assert {"code", "parameters", "w", "cover", "l2", "delta"} == set(found)
    assert all(torch.isfinite(value) for value in found.values())
    paper = EncoderTrainer(
        "e4e-mask", named, tmp_path, replace(settings, preset="paper"), tmp_path / "people"
    )
    assert set(paper.losses(torch.float32)) == {"l2", "perceptual", "delta"}


def test_the_metric_tells_how_much_pictures_differ(generator: Generator) -> None:
    metric = code_metric(generator, gradients=60)
    assert torch.linalg.eigvalsh(metric.pictures.double()).min() > -1e-6
    w = random_codes(generator, 200, torch.Generator().manual_seed(3))
    assert 0.5 < float(metric.terms(w - metric.mean)["picture"]) < 2
    assert "parameters" not in metric.terms(w)
    base = metric.mean
    camera, sampling = look_at(0.0, 0.0).reshape(1, 4, 4), generator.sampling(8, 8)

    def picture(code: torch.Tensor) -> torch.Tensor:
        planes = generator.planes(code.expand(1, generator.num_ws, -1))
        return generator.render(planes, camera, default_intrinsics(1), 16, sampling).features[0, :3]

    steps = 0.05 * torch.nn.functional.normalize(torch.randn(30, 16), dim=1)
    said = torch.stack([metric.terms(step[None])["picture"] for step in steps])
    true = torch.stack([(picture(base + step) - picture(base)).square().mean() for step in steps])
    assert torch.corrcoef(torch.stack([said, true]))[0, 1] > 0.5


def test_the_metric_is_kept_for_its_generator(tmp_path: Path) -> None:
    metric = CodeMetric(torch.zeros(2), torch.eye(2), torch.ones(1, 2))
    path = tmp_path / "metric.safetensors"
    assert CodeMetric.read(path, "a") is None
    metric.write(path, "a")
    found = CodeMetric.read(path, "a")
    assert found is not None and torch.equal(found.readout, metric.readout)
    assert CodeMetric.read(path, "b") is None
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        CodeMetric.read(path, "a")


def test_samples_are_of_their_generator_alone(generator: Generator, tmp_path: Path) -> None:
    make_samples(tmp_path, generator, 6)
    found = GeneratorSamples(tmp_path, "tiny")
    assert len(found) == 3 and found.held_out == 1
    drawn = found.draw(20, torch.Generator().manual_seed(0))
    assert not (drawn.codes == found.tensors["ws"][0]).flatten(1).all(1).any()
    assert len(GeneratorSamples(tmp_path, "other")) == 0
    (tmp_path / "samples.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="cannot be read"):
        GeneratorSamples(tmp_path, "tiny")


def test_framing_without_jitter_keeps_pictures_of_the_usual_focal_length(covered: CoveredPeople) -> None:
    views = covered_views(covered, torch.tensor([0, 1]), torch.tensor([0, 2]))
    image, cover = framed(views, torch.Generator(), jitter=0)
    torch.testing.assert_close(image, views.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(cover, views.cover, atol=1e-4, rtol=0)
    nearer = Views(views.image, views.cover, views.cam2world, views.zoom * 1.1, views.codes)
    assert framed(nearer, torch.Generator(), jitter=0)[1].sum() < 0.9 * cover.sum()


def test_an_occluder_is_copied_where_its_cover_is(covered: CoveredPeople) -> None:
    image, cover = torch.zeros(8, 3, SIZE, SIZE), torch.zeros(8, 1, SIZE, SIZE)
    cameras = look_at(torch.zeros(8), torch.zeros(8))
    laid, covers = lay_over(image, cover, cameras, covered, torch.Generator().manual_seed(1))
    some = covers.amax((1, 2, 3)) > 0.5
    assert some.any() and not some.all()
    assert torch.equal(laid[~some], image[~some])
    outside = (covers == 0).expand_as(laid)
    assert torch.equal(laid[outside], image[outside])
    assert (laid[some].abs().amax((1, 2, 3)) > 0).all()


def test_stored_people_of_another_world_are_refused(tmp_path: Path, covered: CoveredPeople) -> None:
    part = covered_part() | {"scores": torch.zeros(2, 3)}
    save_file(part, covered_path(tmp_path / "covered", 2))
    with pytest.raises(CheckpointError, match="have 3 parameters, people now have"):
        covered.refresh()


def test_true_views(tmp_path: Path) -> None:
    write_part(tmp_path, 1, lambda: balls(4, 1))
    assert part_path(tmp_path, 1).exists()
    views = stored_views(StoredPeople(tmp_path), 5, torch.Generator().manual_seed(0))
    assert views.image.shape == (5, 3, SIZE, SIZE) and views.codes.shape == (5, NUM_PARAMETERS)


def test_iou() -> None:
    a = torch.zeros(3, 1, 4, 4)
    b = a.clone()
    a[0, :, :2], b[0, :, 1:3] = 1, 1
    a[1], b[1] = 1, 1
    found = mask_iou(a, b)
    assert found[0] == pytest.approx(1 / 3) and found[1] == 1 and torch.isnan(found[2])


@pytest.mark.parametrize("name", BOUNDS)
def test_settings_have_bounds(name: str) -> None:
    least, most = BOUNDS[name]
    for value in (least - 1, most + 1, float("nan")):
        with pytest.raises(InverterError, match="goes from"):
            replace(EncoderSettings(), **{name: value})  # type: ignore[arg-type]


def test_presets_and_their_names() -> None:
    assert replace(EncoderSettings(), preset="paper").losses.perceptual == 0.8
    with pytest.raises(InverterError, match="unknown preset 'x' of losses; known: own, paper"):
        EncoderSettings(preset="x")
