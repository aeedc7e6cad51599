import hashlib
import json
import shutil

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from torch import nn

from diffgeo.diffusion.models import PixelDiffusion, load_model, resolve_device, verify_digests
from diffgeo.diffusion.noise_schedule import NoiseSchedule
from diffgeo.errors import ConfigError, DeviceError, ModelError, ShapeError, ValueRangeError


def x(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """A stand-in for a U-Net: ``channels`` outputs, each a multiple of the mean input."""

    def __init__(self, channels, in_channels=3):
        super().__init__()
        self.scale = nn.Parameter(torch.arange(1.0, channels + 1))
        self.config = {"sample_size": (4, 6), "in_channels": in_channels}

    def forward(self, x, t, return_dict=True):
        return (x.mean(dim=1, keepdim=True) * self.scale[:, None, None],)


def test_noise_is_the_networks_output_for_an_epsilon_model(tiny_model):
    point = x(2, 3, 8, 8)
    assert torch.equal(tiny_model.predict_noise(point, 321), tiny_model.unet(point, 321).sample)


def test_noise_of_a_v_model_is_turned_into_epsilon(schedule):
    v_schedule = NoiseSchedule(schedule.alphas_cumprod, "v_prediction")
    model = PixelDiffusion(Linear(3), v_schedule, name="v", source="here")
    point, a = x(1, 3, 4, 6), schedule.alpha(400)
    expected = a**0.5 * model.unet(point, 400)[0] + (1 - a) ** 0.5 * point
    torch.testing.assert_close(model.predict_noise(point, 400), expected)


def test_a_learned_variance_is_dropped(schedule):
    model = PixelDiffusion(Linear(6), schedule, name="wide", source="here")
    point = x(2, 3, 4, 6)
    assert torch.equal(model.predict_noise(point, 10), model.unet(point, 10)[0][:, :3])


def test_an_untrained_model_has_the_architecture_and_other_weights(shipped):
    other, again, third = shipped.untrained(), shipped.untrained(), shipped.untrained(seed=1)
    assert other.unet.config == shipped.unet.config
    point = x(1, 3, 32, 32)
    outputs = [model.predict_noise(point, 500) for model in (shipped, other, again, third)]
    assert torch.equal(outputs[1], outputs[2])
    assert not torch.allclose(outputs[1], outputs[0], atol=1e-2)
    assert not torch.allclose(outputs[1], outputs[3], atol=1e-2)
    assert len({model.digest for model in (shipped, other, third)}) == 3
    assert not other.unet.training
    assert not any(p.requires_grad for p in other.unet.parameters())


@pytest.mark.parametrize("t", [-2, 1000])
def test_timesteps_outside_the_schedule_are_refused(tiny_model, t):
    with pytest.raises(ValueRangeError, match=f"timestep {t}"):
        tiny_model.predict_noise(x(1, 3, 8, 8), t)
    with pytest.raises(ValueRangeError, match=f"timestep {t}"):
        tiny_model.feature_map(t)


def test_an_unknown_block_is_refused(tiny_model):
    with pytest.raises(ConfigError, match="bottleneck"):
        tiny_model.feature_map(0, "bottleneck")
    assert tiny_model.blocks == ["down.0", "down.1", "mid", "up.0", "up.1"]


def test_contiguous_group_norm_changes_no_output(tiny_unet, schedule):
    point, plain = x(2, 3, 8, 8), tiny_unet()
    model = PixelDiffusion(tiny_unet(), schedule, name="tiny", source="random")
    torch.testing.assert_close(model.predict_noise(point, 50), plain(point, 50).sample)


def test_weights_take_no_gradient_and_dropout_is_off(schedule):
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    network.config = {"sample_size": 8, "in_channels": 3}
    model = PixelDiffusion(network, schedule, name="n", source="here")
    assert not model.unet.training
    assert not any(p.requires_grad for p in model.unet.parameters())


def test_the_codec_of_pixels_is_the_identity_within_the_range(tiny_model):
    picture = x(2, 3, 8, 8).clamp(-1, 1)
    assert torch.equal(tiny_model.decode(tiny_model.encode(picture)), picture)
    assert tiny_model.decode(3 * x(1, 3, 8, 8)).abs().max() == 1


def test_grey_models_repeat_and_average_the_channels(schedule):
    model = PixelDiffusion(Linear(1, in_channels=1), schedule, name="grey", source="here")
    picture = x(2, 3, 4, 6).clamp(-1, 1)
    grey = model.encode(picture)
    torch.testing.assert_close(grey[:, 0], picture.mean(dim=1))
    assert torch.equal(model.decode(grey), grey.expand(-1, 3, -1, -1))
    assert model.latent_shape == (1, 4, 6)


def test_pictures_of_other_size_are_refused(tiny_model):
    with pytest.raises(ShapeError, match=r"\(16, 16\); tiny needs \(8, 8\)"):
        tiny_model.encode(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("config", [{}, {"sample_size": 8}, {"in_channels": 3}])
def test_a_network_without_its_size_is_refused(schedule, config):
    network = nn.Linear(2, 2)
    network.config = config
    with pytest.raises(ModelError, match="lacks sample_size or in_channels"):
        PixelDiffusion(network, schedule, name="n", source="here")


def test_a_saved_pipeline_is_the_same_model(tiny_pipeline, tiny_unet):
    model, point = load_model(tiny_pipeline), x(1, 3, 16, 16)
    torch.testing.assert_close(model.predict_noise(point, 77), tiny_unet(size=16)(point, 77).sample)
    assert model.latent_shape == (3, 16, 16)
    assert model.schedule.T == 999


def test_half_precision_files_are_computed_with_in_single(tiny_unet, tmp_path):
    pipeline = DDPMPipeline(tiny_unet(size=16).half(), DDPMScheduler())
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    model, point = load_model(tmp_path / "half", variant="fp16"), x(1, 3, 16, 16)
    assert model.dtype == torch.float32
    rounded = tiny_unet(size=16).half().float()
    torch.testing.assert_close(model.predict_noise(point, 77), rounded(point, 77).sample)
    with pytest.raises(ModelError, match=r"no weights of the variant 'bf16'; there are fp16"):
        load_model(tmp_path / "half", variant="bf16")


def test_double_precision_is_loaded_when_asked_for(tiny_pipeline):
    low, high = load_model(tiny_pipeline), load_model(tiny_pipeline, dtype=torch.float64)
    point = x(1, 3, 16, 16)
    assert high.dtype == torch.float64
    torch.testing.assert_close(high.predict_noise(point.double(), 77).float(), low.predict_noise(point, 77))


def test_cpu_is_always_there_and_auto_finds_a_device():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(str(resolve_device("auto"))).type in ("cpu", "cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "meta", "mps"])
def test_other_devices_are_refused_with_those_there_are(device):
    with pytest.raises(DeviceError, match="this machine has cpu"):
        resolve_device(device)


def test_digests_find_the_missing_and_the_changed_file(tmp_path):
    verify_digests(tmp_path)  # no listing, nothing to check
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.bin").write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  sub/a b.bin\n")
    verify_digests(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{digest} *sub/a b.bin\n")
    verify_digests(tmp_path)
    (tmp_path / "sub" / "a b.bin").write_bytes(b"abd")
    with pytest.raises(ModelError, match=r"a b\.bin is damaged"):
        verify_digests(tmp_path)
    (tmp_path / "sub" / "a b.bin").unlink()
    with pytest.raises(ModelError, match=r"a b\.bin is missing"):
        verify_digests(tmp_path)


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "./here/there", "../x/y", "/no/such"])
def test_what_is_neither_shipped_nor_folder_nor_hub_id_is_refused(name):
    with pytest.raises(ModelError, match=r"not a folder, not a hub id.*shipped are factor_faces"):
        load_model(name)


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "model.ckpt").touch()
    with pytest.raises(ModelError, match="is a file"):
        load_model(tmp_path / "model.ckpt")


def test_a_folder_without_pipeline_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model_index\.json is missing"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3", '"DDPMPipeline"', "\x00"])
def test_a_damaged_index_is_refused(tmp_path, text):
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(ModelError, match=r"model_index\.json"):
        load_model(tmp_path)


def test_a_pipeline_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "AudioPipeline"}))
    with pytest.raises(ModelError, match="holds a AudioPipeline; diffgeo loads DDIMPipeline, DDPMPipeline"):
        load_model(tmp_path)


def test_a_folder_that_brings_its_own_code_is_refused_and_runs_nothing(tiny_pipeline, tmp_path):
    folder, marker = tmp_path / "model", tmp_path / "was here"
    shutil.copytree(tiny_pipeline, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Net: ...\n")
    for library in ("evil", "../evil", "os"):
        (folder / "model_index.json").write_text(json.dumps(index | {"unet": [library, "Net"]}))
        with pytest.raises(ModelError, match="runs no code that comes with a model"):
            load_model(folder)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../../elsewhere.safetensors", "/etc/passwd", "sub/part.safetensors", 3])
def test_weights_outside_the_folder_are_refused(tiny_pipeline, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(tiny_pipeline, folder)
    listing = {"metadata": {}, "weight_map": {"conv_in.weight": name}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(listing))
    with pytest.raises(ModelError, match="points outside its folder"):
        load_model(folder)


class Hostile:
    """Unpickled, it would write a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_a_hostile_pickle_in_place_of_safetensors_runs_nothing(tiny_pipeline, tmp_path):
    folder, marker = tmp_path / "model", tmp_path / "was here"
    shutil.copytree(tiny_pipeline, folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Hostile(marker)}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load"):
        load_model(folder)
    assert not marker.exists()
