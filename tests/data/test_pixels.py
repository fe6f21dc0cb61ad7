"""The fast pixel parser agrees with a plain one, on good and on damaged text."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_sweep.data.faces.export import pixel_text
from fer_sweep.data.pixels import parse_pixels

IMAGES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, (48, 48)).astype(np.uint8)
)


def parse_plainly(text: bytes) -> list[int] | None:
    words = text.split()
    good = all(word.isdigit() and int(word) <= 255 for word in words)
    return [int(word) for word in words] if good and len(words) == 2304 else None


@given(st.lists(IMAGES, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_written_pixels_come_back(images: list[np.ndarray]) -> None:
    values, problems = parse_pixels([pixel_text(image) for image in images])

    assert not problems
    np.testing.assert_array_equal(values.reshape(-1, 48, 48), images)


@given(
    IMAGES,
    st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(list(b"0129 -.x\t\xff"))), max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_damage_is_found_exactly_where_a_plain_parser_finds_it(
    image: np.ndarray, edits: list[tuple[int, int]]
) -> None:
    text = bytearray(pixel_text(image))
    for position, character in edits:
        text[position % len(text)] = character
    expected = parse_plainly(bytes(text))
    whole = pixel_text(image)

    values, problems = parse_pixels([whole, bytes(text), whole])

    assert set(problems) == (set() if expected else {1})
    np.testing.assert_array_equal(values[0], image.ravel())
    np.testing.assert_array_equal(values[2], image.ravel())
    if expected:
        np.testing.assert_array_equal(values[1], expected)


def test_no_text_gives_no_images() -> None:
    values, problems = parse_pixels([])

    assert values.shape == (0, 2304)
    assert not problems
