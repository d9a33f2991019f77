"""Convolutional from end to end: a network takes pictures of any sides it can halve."""

import importlib
import re

import keras
import numpy as np
import pytest
from conftest import ROOT, whole_run

BUILDERS = {
    "Unet-keras": (16, {"base_filters": 2}),
    "U2Net-keras": (32, {"variant": "lite", "self_attention": True}),
    "FCN-keras": (32, {"pretrained": "none", "fc_filters": 4}),
}


@pytest.mark.parametrize(
    "script", ["Unet-keras", "FCN-keras", pytest.param("U2Net-keras", marks=pytest.mark.slow)]
)
def test_a_network_for_any_sides_is_that_for_fixed_ones(script):
    step, options = BUILDERS[script]
    build = importlib.import_module(script).build_model
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    free, fixed = build(**options), build(image_size=64, **options)
    assert {output.shape for output in free.outputs} == {(None, None, None, 3)}
    fixed.set_weights(free.get_weights())
    for one, other in zip(*map(keras.tree.flatten, (free(images), fixed(images))), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    wide = keras.tree.flatten(free(images.repeat(2, axis=2)[:1, : 2 * step]))
    assert {one.shape for one in wide} == {(1, 2 * step, 128, 3)}


@pytest.mark.parametrize("run", [whole_run("unet")], indirect=True)
def test_the_lines_of_the_readme_label_a_photo(run, tmp_path, monkeypatch):
    code = re.search(r"```python\n(import keras.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.keras").write_bytes((run.folder / "model.keras").read_bytes())
    photo = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)
    keras.utils.save_img("photo.jpg", photo, scale=False)
    names = {}
    exec(code[1], names)
    assert names["classes"].shape == (128, 128)
    assert set(np.unique(names["classes"])) <= {0, 1, 2}
