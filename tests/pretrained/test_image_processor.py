"""Pictures are shown as a pretrained model saw them, whatever its image processor does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from attention_atlas.data.image.module import ImageDataModule
from attention_atlas.data.user_inputs import UserInput

SIDE = 16


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViT", {}),
        ("ViT", {"rescale_factor": 1 / 127.5}),
        ("ViT", {"do_rescale": False}),
        ("ViT", {"do_rescale": False, "image_mean": [123, 116, 103], "image_std": [58, 57, 57]}),
        ("ViT", {"do_normalize": False}),
        ("ViT", {"do_normalize": False, "do_rescale": False}),
        ("ViT", {"image_mean": [0.1, 0.5, 0.9], "image_std": [0.2, 0.3, 2.0]}),
        ("MobileViT", {"do_flip_channel_order": True, "do_center_crop": False}),
    ],
)
def test_a_picture_is_undone_exactly(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    processor = getattr(transformers, f"{kind}ImageProcessor")
    size = {"height": SIDE, "width": SIDE}
    processor(size=size, **options).save_pretrained(tmp_path)
    transformers.ViTConfig().save_pretrained(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    picture[0, :2] = [[0, 0, 0], [255, 255, 255]]
    Image.fromarray(picture).save(tmp_path / "a.png")
    module = ImageDataModule("image_folder")
    module.classes = []
    module.use_pretrained(str(tmp_path))
    raw = module.make_dataset([UserInput("a", tmp_path / "a.png")])[0]
    shown = module.display_inputs(module.prepare(raw, training=False))["image"][0]
    assert np.array_equal(shown, picture)
