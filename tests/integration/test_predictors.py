"""CLIP, classifiers and LPIPS from local files with random weights: every loading path, without a network."""

import pytest
import torch
from torch import nn
from transformers import CLIPModel, CLIPTokenizer

from diffgeo.errors import ConfigError, ModelError, ShapeError, ValueRangeError
from diffgeo.metrics.classifiers import ClassifierPredictor, Identity, load_network
from diffgeo.metrics.clip import load_clip
from diffgeo.metrics.edits import directional_similarity
from diffgeo.metrics.perceptual import LpipsDistance, alexnet_file, best_measure, load_lpips, perceptual_path_length

PROMPTS = {"smile": ["a smiling face", "a neutral face"], "glasses": ["a face with glasses", "a face"]}


@pytest.fixture
def pictures():
    return torch.rand(5, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


# CLIP


def test_clip_scores_are_two_p_minus_one_of_the_softmax_over_each_pair(clip_folder, pictures):
    predictor = load_clip(str(clip_folder), PROMPTS, local_files_only=True)
    assert predictor.names == ("smile", "glasses")
    model, tokenizer = CLIPModel.from_pretrained(clip_folder).eval(), CLIPTokenizer.from_pretrained(clip_folder)
    small = nn.functional.interpolate((pictures + 1) / 2, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    for j, pair in enumerate(PROMPTS.values()):
        tokens = tokenizer(pair, padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(pixel_values=(small - 0.5) / 0.25, **tokens).logits_per_image
        expected = 2 * logits.softmax(dim=1)[:, 0] - 1
        torch.testing.assert_close(predictor(pictures)[:, j], expected, rtol=1e-4, atol=1e-5)


def test_clip_has_gradients_and_directions_in_its_space(clip_folder, pictures):
    predictor = load_clip(str(clip_folder), PROMPTS)
    x = pictures.clone().requires_grad_(True)
    predictor.scores(x)[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0
    moved = predictor.embed(pictures) - predictor.embed(-pictures)
    similarity = directional_similarity(moved, predictor.text_directions[0])
    assert similarity.shape == (5,)
    assert bool((similarity.abs() <= 1).all())


def test_what_is_no_clip_is_refused(tmp_path, clip_folder):
    with pytest.raises(ModelError, match="no folder"):
        load_clip(str(tmp_path / "nowhere"), PROMPTS)
    with pytest.raises(ModelError, match="gave no CLIP model"):
        load_clip(str(tmp_path), PROMPTS)
    with pytest.raises(ConfigError, match="two prompts each"):
        load_clip(str(clip_folder), {"smile": ["only one"]})
    with pytest.raises(ConfigError, match="two prompts each"):
        load_clip(str(clip_folder), {})


# classifiers


class Colours(nn.Module):
    """Logits: the mean of the red and of the blue channel, ten times."""

    def forward(self, x):
        return 10 * x.mean(dim=(2, 3))[:, [0, 2]]


def saved(folder, kind):
    example = torch.zeros(2, 3, 24, 24)
    if kind == "torchscript":
        path = folder / "colours.pt"
        torch.jit.save(torch.jit.trace(Colours(), example), path)
    elif kind == "export":
        path = folder / "colours.pt2"
        batch = torch.export.Dim("batch")
        torch.export.save(torch.export.export(Colours(), (example,), dynamic_shapes={"x": {0: batch}}), path)
    else:
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        path, h = folder / "colours.onnx", onnx.helper
        nodes = [
            h.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
            h.make_node("Gather", ["mean", "which"], ["two"], axis=1),
            h.make_node("Mul", ["two", "ten"], ["logits"]),
        ]
        constants = [
            h.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3]),
            h.make_tensor("which", onnx.TensorProto.INT64, [2], [0, 2]),
            h.make_tensor("ten", onnx.TensorProto.FLOAT, [], [10.0]),
        ]
        ends = [
            h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in (("x", ["n", 3, 24, 24]), ("logits", ["n", 2]))
        ]
        graph = h.make_graph(nodes, "colours", ends[:1], ends[1:], constants)
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, str(path))
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["torchscript", pytest.param("export", marks=pytest.mark.slow), "onnx"])
def test_a_classifier_of_any_file_type_reads_the_same_attributes(tmp_path, pictures, kind):
    network = load_network(str(saved(tmp_path, kind)))
    predictor = ClassifierPredictor(network, ["red", "blue"], size=24, mean=[0.5] * 3, std=[0.5] * 3)
    small = nn.functional.interpolate(pictures, (24, 24), mode="bilinear", antialias=True)
    expected = (5 * small.mean(dim=(2, 3))[:, [0, 2]]).tanh()
    torch.testing.assert_close(predictor(pictures), expected, rtol=1e-4, atol=1e-5)
    assert predictor.differentiable is (kind != "onnx")


def test_a_probability_outside_its_range_is_loud(pictures):
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.25, 1.5]]).expand(len(x), 2)

    with pytest.raises(ValueRangeError, match=r"0.25 to 1.5 for a probability"):
        ClassifierPredictor(Fixed(), ["a", "b"], size=8, activation="probability")(pictures)

    class Broken(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 1), torch.nan)

    with pytest.raises(ValueRangeError, match="NaN"):
        ClassifierPredictor(Broken(), ["a"], size=8)(pictures)


def test_torchvision_weights_need_their_architecture(tmp_path, pictures):
    from torchvision.models import get_model

    torch.manual_seed(0)
    network = get_model("mobilenet_v3_small", weights=None, num_classes=3).eval()
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    loaded = load_network(str(path), arch="mobilenet_v3_small", outputs=3)
    predictor = ClassifierPredictor(loaded, ["a", "b", "c"], size=48, activation="softmax")
    scores = predictor(pictures)
    torch.testing.assert_close((scores.sum(dim=1) + 3) / 2, torch.ones(5), rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match=r"predictor.arch is None"):
        load_network(str(path))
    with pytest.raises(ModelError, match="no usable network"):
        load_network(str(path), arch="resnet18", outputs=3)
    with pytest.raises(ShapeError, match=r"predictor.names has 2"):
        ClassifierPredictor(loaded, ["a", "b"], size=48)(pictures)


def test_files_that_are_no_networks_are_refused(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        load_network(str(tmp_path / "nothing.pt"))
    for name in ("broken.pt", "broken.onnx", "broken.pt2"):
        (tmp_path / name).write_bytes(b"no network")
        with pytest.raises(ModelError, match="no usable network"):
            load_network(str(tmp_path / name))
    (tmp_path / "model.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"ends in .txt"):
        load_network(str(tmp_path / "model.txt"))
    with pytest.raises(ConfigError, match="activation"):
        ClassifierPredictor(Colours(), ["a"], size=8, activation="relu")


class Grab:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_no_code_of_a_weights_file_is_executed(tmp_path):
    path = tmp_path / "hostile.pth"
    torch.save({"features.0.weight": Grab()}, path)
    with pytest.raises(ModelError, match="no usable network"):
        load_network(str(path), arch="resnet18", outputs=2)
    with pytest.raises(ModelError, match="no AlexNet"):
        LpipsDistance(path)


def test_identity_is_a_cosine(pictures):
    same = Identity(Colours(), size=24)
    assert same(pictures, pictures).tolist() == pytest.approx([1] * 5, abs=1e-6)
    assert bool((same(pictures, pictures[:1]).abs() <= 1).all())


# LPIPS


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    from torchvision.models import alexnet as build

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lpips") / "alexnet-owt-7be5be79.pth"
    features = {k: v for k, v in build(weights=None).state_dict().items() if k.startswith("features")}
    torch.save(features, path)
    return path


def test_lpips_is_that_of_the_package_with_the_same_weights(alexnet, pictures):
    import lpips

    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    state = torch.load(alexnet, weights_only=True)
    for piece in range(1, 6):
        for index, layer in getattr(theirs.net, f"slice{piece}").named_children():
            layer.load_state_dict({k: state[f"features.{index}.{k}"] for k in layer.state_dict()})
    ours = LpipsDistance(alexnet)
    with torch.no_grad():
        expected = theirs(pictures, -pictures).flatten()
    torch.testing.assert_close(ours(pictures, -pictures), expected)
    assert ours(pictures, pictures).abs().max().item() == 0


def test_lpips_is_never_what_something_else_is_called(alexnet, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert not alexnet_file().exists()
    assert best_measure(None, 256).name == "rmse"
    assert best_measure(None, 32, str(alexnet)).name == "rmse"
    assert best_measure(None, 64, str(alexnet)).name == "lpips"
    with pytest.raises(ConfigError, match=r"alexnet-owt-7be5be79.pth"):
        load_lpips()
    for make in (load_lpips, lambda path: best_measure(None, 64, path)):
        with pytest.raises(ConfigError, match="does not exist"):
            make(str(tmp_path / "nothing"))


def test_the_perceptual_path_length_of_a_linear_generator_is_the_speed_of_the_arc(pictures):
    """d = mean squared difference and G the identity: PPL = (arc length)² / d for ε → 0."""

    class Squared:
        name = "squared"

        def __call__(self, a, b):
            return (a - b).square().mean(dim=(1, 2, 3))

    a = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    b = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = perceptual_path_length(
        lambda x: x,
        a,
        b * (a.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1))[:, None, None, None],
        Squared(),
        eps=1e-4,
    )
    norm = a.flatten(1).norm(dim=1)
    cosine = (a.flatten(1) * b.flatten(1)).sum(1) / norm / b.flatten(1).norm(dim=1)
    expected = (norm * cosine.arccos()).square() / 192
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)
