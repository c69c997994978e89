"""Text in PNG files: other programs read it, the picture stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ovito_mace_phase.runtime.png_text import add_text


def test_text_is_read_back_and_the_picture_is_the_same(tmp_path, rng):
    path = tmp_path / "a.png"
    pixels = rng.integers(0, 256, (17, 23, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, dpi=(150, 150))
    add_text(path, {"Program": "x 1", "Settings": '{"a": "Å, μ, 好"}', "Empty": ""})
    with Image.open(path) as picture:
        assert (np.asarray(picture) == pixels).all()
        assert picture.text == {"Program": "x 1", "Settings": '{"a": "Å, μ, 好"}', "Empty": ""}
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    with Image.open(path) as picture:
        picture.verify()  # checksums of the chunks


def test_what_is_no_png_and_keywords_that_are_too_long(tmp_path):
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="is no PNG file"):
        add_text(tmp_path / "a.png", {})
    Image.new("RGB", (2, 2)).save(tmp_path / "b.png")
    for keyword in ("", 80 * "k"):
        with pytest.raises(ValueError, match="1 to 79"):
            add_text(tmp_path / "b.png", {keyword: "text"})
