"""Augmentation: what each policy may and must do to a face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from fer_sweep.data import FaceSet
from fer_sweep.errors import ConfigError
from fer_sweep.train import geometry, tones
from fer_sweep.train.augment import PIXEL_MEAN, PIXEL_STD, augment, eval_transform, normalise
from fer_sweep.train.draw import Draw
from fer_sweep.train.geometry import flip_rotate_table, gather_pixels
from fer_sweep.train_config import AUGMENTATIONS

Tone = Callable[[torch.Tensor, Any], torch.Tensor]
BLACK, WHITE = -PIXEL_MEAN / PIXEL_STD, (1 - PIXEL_MEAN) / PIXEL_STD


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def faces(faces_small: FaceSet) -> torch.Tensor:
    return torch.from_numpy(faces_small.images[:64].copy())


def ramp() -> torch.Tensor:
    """One image whose pixels are all different along each row, and asymmetric."""
    return torch.arange(48, dtype=torch.uint8).repeat(48, 1)[None]


# -- every policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", AUGMENTATIONS)
def test_faces_come_out_normalised_and_the_input_is_untouched(
    policy: str, faces: torch.Tensor
) -> None:
    before = faces.clone()
    out = augment(faces, policy, generator())
    assert out.shape == (64, 1, 48, 48)
    assert out.dtype == torch.float32
    assert out.min() >= BLACK - 1e-5
    assert out.max() <= WHITE + 1e-5
    assert torch.equal(faces, before)


@pytest.mark.parametrize("policy", AUGMENTATIONS)
def test_the_seed_decides_every_pixel(policy: str, faces: torch.Tensor) -> None:
    out = augment(faces, policy, generator(3))
    assert torch.equal(out, augment(faces, policy, generator(3)))
    if policy != "none":
        assert not torch.equal(out, augment(faces, policy, generator(4)))


@pytest.mark.parametrize("policy", AUGMENTATIONS)
def test_the_global_random_stream_is_not_used(policy: str, faces: torch.Tensor) -> None:
    state = torch.get_rng_state()
    augment(faces, policy, generator())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("policy", AUGMENTATIONS)
def test_a_face_keeps_its_place_in_the_batch(policy: str) -> None:
    """Four images, each with one quarter of its rows bright: labels need no shuffling."""
    banded = torch.zeros(4, 48, 48, dtype=torch.uint8)
    for quarter in range(4):
        banded[quarter, 12 * quarter : 12 * quarter + 12] = 200
    out = augment(banded.repeat(50, 1, 1), policy, generator())[:, 0]
    brightest = out.unflatten(1, (4, 12)).mean(dim=(2, 3)).argmax(dim=1)
    assert (brightest == torch.arange(4).repeat(50)).float().mean() > 0.97


@pytest.mark.parametrize("policy", [p for p in AUGMENTATIONS if p != "none"])
def test_about_half_the_faces_are_flipped(policy: str) -> None:
    """On a left-to-right ramp the slope gives the flip away, whatever else happens."""
    out = augment(ramp().mul(5).expand(2000, 48, 48), policy, generator())[:, 0]
    flipped = out[:, :, 30:].mean(dim=(1, 2)) < out[:, :, :18].mean(dim=(1, 2))
    assert flipped.float().mean().item() == pytest.approx(0.5, abs=0.04)  # 3.5 standard errors


@pytest.mark.parametrize("policy", [p for p in AUGMENTATIONS if p != "readme"])
def test_no_policy_but_readme_paints_black_borders(policy: str) -> None:
    bright = torch.full((200, 48, 48), 180, dtype=torch.uint8)
    out = augment(bright, policy, generator())
    border = torch.cat([out[:, 0, 0], out[:, 0, -1], out[:, 0, :, 0], out[:, 0, :, -1]])
    assert border.min() > BLACK / 2


def test_unknown_policy_names_the_choices(faces: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"got 'autoaugment'.*none, flip, readme"):
        augment(faces, "autoaugment", generator())
    with pytest.raises(ConfigError, match="got 'autoaugment'"):
        eval_transform("autoaugment")


# -- none, flip ------------------------------------------------------------------------------------


def test_none_only_normalises(faces: torch.Tensor) -> None:
    expected = (faces.float() / 255 - PIXEL_MEAN) / PIXEL_STD
    torch.testing.assert_close(augment(faces, "none", generator()), expected[:, None])


def test_flip_mirrors_or_leaves_alone(faces: torch.Tensor) -> None:
    clean = normalise(faces)
    out = augment(faces, "flip", generator())
    same = (out == clean).all(dim=(1, 2, 3))
    mirrored = (out == clean.flip(3)).all(dim=(1, 2, 3))
    assert (same | mirrored).all()
    assert same.any()
    assert mirrored.any()


# -- readme ----------------------------------------------------------------------------------------


def rotated_by_table(image: torch.Tensor, row: int) -> torch.Tensor:
    return gather_pixels(image[None], flip_rotate_table(torch.device("cpu"))[row][None]).view(
        48, 48
    )


def test_rotation_table_is_torchvisions_nearest_rotation() -> None:
    """Of all 201 angles, at most 1 pixel in 10,000 lands on the other side of a rounding tie."""
    image = torch.randint(1, 256, (48, 48), dtype=torch.uint8, generator=generator())
    wrong = 0
    for row in range(201):
        expected = reference.rotate(image[None], -10 + 0.1 * row, InterpolationMode.NEAREST)[0]
        wrong += int((rotated_by_table(image, row) != expected).sum())
    assert wrong <= 201 * 2304 / 10_000


def test_rotation_table_is_pils_nearest_rotation() -> None:
    """PIL computes in 16-bit fixed point: at most 1 pixel in 2,000 differs."""
    image = torch.randint(1, 256, (48, 48), dtype=torch.uint8, generator=generator())
    wrong = 0
    for row in range(201):
        picture = Image.fromarray(image.numpy())
        expected = np.asarray(reference.rotate(picture, -10 + 0.1 * row, InterpolationMode.NEAREST))
        wrong += int((rotated_by_table(image, row).numpy() != expected).sum())
    assert wrong <= 201 * 2304 / 2_000


def test_the_flipped_half_of_the_table_flips_before_it_rotates() -> None:
    image = torch.randint(1, 256, (48, 48), dtype=torch.uint8, generator=generator())
    for row in (0, 57, 100, 200):
        assert torch.equal(rotated_by_table(image, 201 + row), rotated_by_table(image.flip(1), row))


def test_readme_draws_every_angle_about_equally_often() -> None:
    drawn = Draw(402 * 200, generator()).integers(402).bincount(minlength=402)
    assert drawn.min() > 200 - 6 * 200**0.5
    assert drawn.max() < 200 + 6 * 200**0.5


def test_readme_leaves_black_corners_as_torchvision_does() -> None:
    white = torch.full((50, 48, 48), 255, dtype=torch.uint8)
    out = augment(white, "readme", generator())
    assert (out[:, 0, 0, 0] == out.min()).float().mean() > 0.5
    assert out.min().item() == pytest.approx(BLACK)
    assert (out[:, 0, 12:36, 12:36] == out.max()).all()


# -- crop44 ----------------------------------------------------------------------------------------


def test_crop44_shows_one_of_25_windows_enlarged(faces: torch.Tensor) -> None:
    image = faces[:1]
    windows = [
        geometry.enlarge(normalise(view[:, top : top + 44, left : left + 44]))
        for view in (image, image.flip(2))
        for top in range(5)
        for left in range(5)
    ]
    known = torch.cat(windows).flatten(1)
    out = augment(image.expand(300, 48, 48), "crop44", generator()).flatten(1)
    distance = torch.cdist(out, known, compute_mode="donot_use_mm_for_euclid_dist")
    assert distance.min(dim=1).values.max() < 1e-2
    assert len(distance.argmin(dim=1).unique()) == 50


def test_crop44_is_evaluated_on_the_centre_window(faces: torch.Tensor) -> None:
    expected = geometry.enlarge(normalise(faces[:, 2:46, 2:46]))
    assert torch.equal(eval_transform("crop44")(faces), expected)


@pytest.mark.parametrize("policy", [p for p in AUGMENTATIONS if p != "crop44"])
def test_other_policies_are_evaluated_on_the_whole_face(policy: str, faces: torch.Tensor) -> None:
    assert torch.equal(eval_transform(policy)(faces), normalise(faces))


# -- medium, strong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "share", "areas"),
    [
        pytest.param("medium", 0.25, (7 * 7, 17 * 17), id="medium"),
        pytest.param("strong", 0.5, (0.015 * 2304, 0.23 * 2304), id="strong"),
    ],
)
def test_a_share_of_the_faces_loses_one_rectangle(
    policy: str, share: float, areas: tuple[float, float]
) -> None:
    black = torch.zeros(2000, 48, 48, dtype=torch.uint8)
    erased = augment(black, policy, generator())[:, 0] == 0.0
    sizes = erased.sum(dim=(1, 2)).float()
    hit = sizes > 0
    assert hit.float().mean().item() == pytest.approx(share, abs=0.04)
    assert sizes[hit].min() >= areas[0]
    assert sizes[hit].max() <= areas[1]
    heights, widths = erased.any(dim=2).sum(dim=1), erased.any(dim=1).sum(dim=1)
    assert torch.equal((heights * widths).float(), sizes)


# -- the parts they are made of --------------------------------------------------------------------


def smooth_face(faces: torch.Tensor) -> torch.Tensor:
    return faces[:1].float().unsqueeze(1) / 255


def one(value: float) -> torch.Tensor:
    return torch.tensor([value])


def test_maps_turn_shift_and_mirror_in_the_direction_they_say(faces: torch.Tensor) -> None:
    image = smooth_face(faces)
    turned = geometry.resample(image, geometry.rotation(one(8.0)))
    expected = reference.rotate(image, 8.0, InterpolationMode.BILINEAR)
    torch.testing.assert_close(
        turned[..., 8:40, 8:40], expected[..., 8:40, 8:40], atol=1e-3, rtol=0
    )
    shifted = geometry.resample(image, geometry.shift(one(0.25), one(0.0)))
    torch.testing.assert_close(shifted[..., 12:], image[..., :-12], atol=1e-4, rtol=0)
    mirrored = geometry.resample(image, geometry.mirror(torch.tensor([True])))
    torch.testing.assert_close(mirrored, image.flip(3), atol=1e-4, rtol=0)


def test_maps_that_were_not_chosen_are_the_identity() -> None:
    maps = geometry.rotation(torch.tensor([5.0, 5.0]))
    picked = geometry.only(torch.tensor([True, False]), maps)
    assert torch.equal(picked[0], maps[0])
    assert torch.equal(picked[1], torch.eye(3))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(tones.brightness, reference.adjust_brightness, id="brightness"),
        pytest.param(tones.contrast, reference.adjust_contrast, id="contrast"),
        pytest.param(tones.sharpness, reference.adjust_sharpness, id="sharpness"),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.4])
def test_tones_are_torchvisions(
    ours: Tone, theirs: Tone, factor: float, faces: torch.Tensor
) -> None:
    image = smooth_face(faces)
    torch.testing.assert_close(ours(image, one(factor)), theirs(image, factor), atol=1e-5, rtol=0)


def test_autocontrast_is_torchvisions_and_leaves_flat_faces(faces: torch.Tensor) -> None:
    image = smooth_face(faces) * 0.5 + 0.2
    torch.testing.assert_close(
        tones.autocontrast(image), reference.autocontrast(image), atol=1e-5, rtol=0
    )
    flat = torch.full((1, 1, 48, 48), 0.3)
    assert torch.equal(tones.autocontrast(flat), flat)


def test_equalise_ranks_pixels_and_leaves_flat_faces(faces: torch.Tensor) -> None:
    """Each pixel becomes its share of darker pixels, the brightest 1; torchvision's rounds coarsely."""
    equal = tones.equalise(faces[:8].float().unsqueeze(1) / 255)
    for pixels, values in zip(faces[:8].numpy(), equal.numpy(), strict=True):
        darker = np.searchsorted(np.sort(pixels, axis=None), pixels)
        np.testing.assert_allclose(values[0], darker / darker.max(), atol=1e-6)
    flat = torch.full((1, 1, 48, 48), 0.3)
    assert torch.equal(tones.equalise(flat), flat)
