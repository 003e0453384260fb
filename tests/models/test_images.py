"""vgg, inception, googlenet, resnet, autoencoder, encoder_decoder, fusion and torchvision's models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dlrun.errors import ConfigError
from dlrun.models.autoencoder import autoencoder, resize
from dlrun.models.encoder_decoder import encoder_decoder
from dlrun.models.fusion import fusion
from dlrun.models.inception import Inception, Widths, googlenet, inception
from dlrun.models.residual import Residual, resnet
from dlrun.models.torchvision import torchvision_model
from dlrun.models.vgg import vgg
from dlrun.spec import DataSpec

MNIST = DataSpec("mnist", "classification", "image", (1, 28, 28), 10)
PHOTO = DataSpec("photos", "classification", "image", (3, 32, 32), 5)
RESTORE = DataSpec("mnist", "reconstruction", "image", (1, 28, 28), 784)
MASKS = DataSpec("masks", "labelling", "image", (3, 17, 12), 4)
SMALL = "shufflenet_v2_x0_5"  # a small architecture, quick to build


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# VGG


def test_vgg16_from_its_list() -> None:
    channels = [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]
    with torch.device("meta"):
        net = vgg(DataSpec("imagenet", "classification", "image", (3, 224, 224), 10), channels=channels)
    convolutions = [m for m in net.vgg if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 13
    assert sum(count(m) for m in convolutions) == 14_714_688  # the paper's 13 convolutions
    assert convolutions[0].in_channels == 3
    assert all(m.kernel_size == (3, 3) and m.padding == (1, 1) for m in convolutions)


def test_vgg_layers_are_addressed_by_index() -> None:
    net = vgg(PHOTO, channels=[4, "M", 6], head=[])
    assert [type(m).__name__ for m in net.vgg] == ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU"]
    x = torch.randn(2, 3, 32, 32)
    conv, last = net.feature_maps(x, (0, 4))
    assert conv.shape == (2, 4, 32, 32)
    assert last.shape == (2, 6, 16, 16)
    torch.testing.assert_close(conv, net.vgg[0](x))  # the ReLU behind it has not changed it
    assert (conv < 0).any()


def test_vgg_taps_join_the_head() -> None:
    net = vgg(PHOTO, channels=[4, "M", 6], head=[], taps=[1])
    x = torch.randn(2, 3, 32, 32)
    first, last = net.feature_maps(x, (1, 4))
    small = nn.functional.adaptive_avg_pool2d(last, 7).flatten(1)
    assert net.head.linear1.in_features == 4 + 6 * 49
    torch.testing.assert_close(net(x), net.head(torch.cat([first.mean((2, 3)), small], dim=1)))
    same = vgg(PHOTO, channels=[4, "M", 6], head=[], taps=[4])
    assert same.head.linear1.in_features == 6 * 49  # the last map is there anyway


def test_vgg_pools_small_images_as_often_as_asked() -> None:
    net = vgg(MNIST, channels=[4, *["M"] * 7])
    assert net.head.linear1.in_features == 4
    odd = vgg(MNIST.replace(input_shape=(1, 9, 23)), channels=[4, "M", "M"])
    assert odd(torch.randn(2, 1, 9, 23)).shape == (2, 10)
    assert odd.head.linear1.in_features == 4 * 3 * 6
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"channels": [8, "N"]}, r"^model\.channels: entry 1 is 'N'"),
        ({"channels": [0]}, r"^model\.channels: entry 0 is 0"),
        ({"channels": []}, r"^model\.channels: is empty"),
        ({"channels": [8], "taps": [2]}, r"^model\.taps: there is no layer 2: .*0 to 1"),
    ],
)
def test_vgg_errors(kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vgg(MNIST, **kwargs)


# Inception, residual


def test_the_inception_block_keeps_the_size_and_joins_the_channels() -> None:
    widths = Widths(64, 96, 128, 16, 32, 32)  # 3a of the paper's table 1: 256 channels from 192
    block = Inception(192, widths)
    x = torch.randn(2, 192, 7, 7)
    assert block(x).shape == (2, 256, 7, 7)
    torch.testing.assert_close(block(x)[:, :64], block.branch1(x))
    torch.testing.assert_close(block(x)[:, -32:], block.branch_pool(x))
    weights = sum(p.numel() for p in block.parameters() if p.dim() > 1)
    assert weights == 192 * (64 + 96 + 16 + 32) + 9 * 96 * 128 + 25 * 16 * 32


def test_googlenet_is_the_papers_at_full_width() -> None:
    with torch.device("meta"):
        net = googlenet(DataSpec("imagenet", "classification", "image", (3, 224, 224), 1000), width=1.0)
    blocks = [m for m in net.modules() if isinstance(m, Inception)]
    inputs = [block.branch1[0].in_channels for block in blocks]
    assert inputs == [192, 256, 480, 512, 512, 512, 528, 832, 832]
    assert net.head[1].in_features == 1024


def test_googlenet_stems() -> None:
    large = googlenet(MNIST, stem="large", width=0.1)
    small = googlenet(MNIST, stem="auto", width=0.1)
    assert large.features[0][0].kernel_size == (7, 7)
    assert small.features[0][0].kernel_size == (3, 3)
    assert googlenet(MNIST.replace(input_shape=(1, 96, 96)), width=0.1).features[0][0].stride == (2, 2)


def test_inception_errors() -> None:
    with pytest.raises(ConfigError, match=r"^model\.branches: has 2 entries"):
        inception(MNIST, branches=[1, 2])
    with pytest.raises(ConfigError, match=r"^model\.channels: 5 poolings halve a 28x28 image"):
        inception(MNIST, channels=[4] * 5)


def test_a_residual_block_adds_its_input() -> None:
    block = Residual(6, 6)
    assert isinstance(block.shortcut, nn.Identity)
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(block(x), torch.relu(x + block.conv2(torch.relu(block.conv1(x)))))
    for p in (*block.conv2.parameters(), *block.conv1.parameters()):
        nn.init.zeros_(p)
    assert torch.equal(block(x), torch.relu(x))  # F = 0: the identity, which is the point of it


def test_a_residual_block_that_changes_dimensions_projects_its_shortcut() -> None:
    assert Residual(6, 8, stride=2)(torch.randn(2, 6, 5, 5)).shape == (2, 8, 3, 3)
    assert Residual(6, 8).shortcut.kernel_size == (1, 1)


def test_resnet_stages() -> None:
    by_stride = resnet(PHOTO, channels=[8, 16, 32], blocks=[1, 2, 3])
    blocks = [m for m in by_stride.modules() if isinstance(m, Residual)]
    assert len(blocks) == 6
    assert [isinstance(b.shortcut, nn.Identity) for b in blocks] == [True, False, True, False, True, True]
    by_pool = resnet(PHOTO, channels=[8, 16], transition="pool", kernel=5, batch_norm=False)
    assert all(isinstance(b.shortcut, nn.Identity) for b in by_pool.modules() if isinstance(b, Residual))
    assert sum(isinstance(m, nn.MaxPool2d) for m in by_pool.modules()) == 2
    x = torch.randn(1, 3, 32, 32)
    assert by_stride.features[:-1](x).shape == (1, 32, 8, 8)
    assert by_pool.features[:-1](x).shape == (1, 16, 8, 8)


def test_resnet_errors() -> None:
    with pytest.raises(ConfigError, match=r"^model\.channels: 5 stages"):
        resnet(MNIST, channels=[4] * 5, transition="pool")
    with pytest.raises(ConfigError, match=r"^model\.channels: is empty"):
        resnet(MNIST, channels=[])


# Autoencoder


@pytest.mark.parametrize("mode", ["unpool", "transposed", "interpolate"])
def test_autoencoders_have_under_800_parameters_and_learn(mode: str) -> None:
    torch.manual_seed(0)
    net = autoencoder(RESTORE, mode=mode)
    assert count(net) < 800
    # Smooth blobs: one bright spot at a random place of each image.
    grid = torch.arange(28.0)
    centre = torch.rand(24, 2, 1) * 28
    profile = torch.exp(-((grid - centre) ** 2) / 20)
    x = (profile[:, 0, :, None] * profile[:, 1, None, :]).unsqueeze(1)
    x = x * (x > 0.01)  # denormal numbers would make this test slow
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), x)
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * (x - x.mean(0)).square().mean()  # half of what the mean image leaves


@pytest.mark.parametrize("size", [(28, 28), (9, 14), (7, 7)])
@pytest.mark.parametrize("mode", ["unpool", "transposed", "interpolate"])
def test_autoencoders_restore_odd_sizes_too(mode: str, size: tuple[int, int]) -> None:
    net = autoencoder(RESTORE.replace(input_shape=(2, *size)), mode=mode)
    assert net(torch.randn(2, 2, *size)).shape == (2, 2, *size)


def test_max_unpooling_puts_the_maxima_back() -> None:
    """The 4x4 example of the notes (and of torch's documentation)."""
    net = autoencoder(RESTORE, mode="unpool", channels=[1])
    x = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    pooled, indices = net.pool(x)
    restored = net.up[0](pooled, indices, output_size=x.shape[-2:])
    expected = torch.zeros(4, 4)
    expected[1, 1], expected[1, 3], expected[3, 1], expected[3, 3] = 6, 8, 14, 16
    assert torch.equal(restored[0, 0], expected)


MODES = ["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"]


@pytest.mark.parametrize("mode", MODES)
def test_every_interpolation_mode_works(mode: str) -> None:
    net = autoencoder(RESTORE, mode="interpolate", interpolation=mode)
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("align_corners", [None, False, True])
def test_linear_and_trilinear_equal_bilinear_on_images(align_corners: bool | None) -> None:
    x = torch.randn(2, 3, 5, 4)
    expected = nn.functional.interpolate(x, (11, 9), mode="bilinear", align_corners=align_corners)
    for mode in ("linear", "trilinear", "bilinear"):
        torch.testing.assert_close(resize(x, (11, 9), mode, align_corners), expected)


def test_autoencoder_errors() -> None:
    with pytest.raises(ConfigError, match=r"^model\.channels: 5 poolings"):
        autoencoder(RESTORE, channels=[4] * 5)
    with pytest.raises(ConfigError, match=r"^model\.align_corners: does nothing with mode=unpool"):
        autoencoder(RESTORE, mode="unpool", align_corners=True)
    with pytest.raises(ConfigError, match=r"^model\.align_corners: does nothing .*interpolation=area"):
        autoencoder(RESTORE, mode="interpolate", interpolation="area", align_corners=False)


# Encoder and decoder, fusion


def test_encoder_and_decoder_are_two_networks_of_one_model() -> None:
    net = encoder_decoder(RESTORE, encoder=[32, 5], decoder=[16])
    x = torch.randn(3, 1, 28, 28)
    code = net.encoder(x)
    assert code.shape == (3, 5)
    torch.testing.assert_close(net(x), net.decoder(code))
    assert {name.split(".")[0] for name, _ in net.named_parameters()} == {"encoder", "decoder"}


def test_the_convolutional_encoder_labels_pixels() -> None:
    net = encoder_decoder(MASKS, encoder=[8, 6], decoder=[8, 8, 8])
    x = torch.randn(2, 3, 17, 12)
    assert net.encoder(x).shape == (2, 6, 4, 3)
    assert net(x).shape == (2, 4, 17, 12)


def test_encoder_decoder_errors() -> None:
    with pytest.raises(ConfigError, match=r"^model\.layers: dense layers give no output per pixel"):
        encoder_decoder(MASKS, layers="dense")
    with pytest.raises(ConfigError, match=r"^model\.layers: conv layers label or restore images"):
        encoder_decoder(MNIST, layers="conv")
    with pytest.raises(ConfigError, match=r"^model\.encoder: is empty"):
        encoder_decoder(MNIST, encoder=[])
    with pytest.raises(ConfigError, match=r"^model\.encoder: 4 poolings"):
        encoder_decoder(MASKS, encoder=[4] * 4)


def test_fusion_uses_every_input() -> None:
    spec = DataSpec("scenes", "labelling", "multi", (3, 9, 8), 4, other_shapes=((1, 9, 8),))
    net = fusion(spec)
    image, depth = torch.randn(2, 3, 9, 8), torch.randn(2, 1, 9, 8)
    assert net(image, depth).shape == (2, 4, 9, 8)
    assert not torch.equal(net(image, depth), net(image, depth + 1))
    assert not torch.equal(net(image, depth), net(image + 1, depth))


def test_fusion_errors() -> None:
    spec = DataSpec("scenes", "labelling", "multi", (3, 9, 8), 4, other_shapes=((5,),))
    with pytest.raises(ConfigError, match=r"^model: fusion labels the pixels .*\(3, 9, 8\), \(5,\)"):
        fusion(spec)
    with pytest.raises(ConfigError, match=r"^model\.kernel: is 4"):
        fusion(spec, kernel=4)
    with pytest.raises(ConfigError, match=r"^model\.channels: is empty"):
        fusion(spec, channels=[])


# torchvision


def test_torchvision_is_fitted_to_channels_and_classes() -> None:
    net = torchvision_model(MNIST, SMALL)
    assert net.network.conv1[0].in_channels == 1
    assert net.network.conv1[0].stride == (2, 2)
    assert net.network.fc.out_features == 10
    assert torchvision_model(PHOTO, SMALL).network.conv1[0].in_channels == 3


def test_torchvision_scales_images_where_asked() -> None:
    net = torchvision_model(MNIST, SMALL, image_size=64)
    sizes = []
    net.network.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[0].shape))
    assert net(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    assert sizes == [(2, 1, 64, 64)]


def test_torchvision_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = torchvision_model(PHOTO, SMALL).network
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    same = torchvision_model(PHOTO, SMALL, weights=tmp_path / "weights.pt").network
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in source.state_dict().items())
    grey = torchvision_model(MNIST, SMALL, weights=str(tmp_path / "weights.pt")).network
    torch.testing.assert_close(grey.conv1[0].weight, source.conv1[0].weight.sum(1, keepdim=True))
    assert torch.equal(grey.conv5[0].weight, source.conv5[0].weight)
    assert grey.fc.out_features == 10  # other classes: fresh
    torch.save({f"module.{k}": v for k, v in source.state_dict().items()}, tmp_path / "parallel.pt")
    t51 = torchvision_model(PHOTO, SMALL, weights=tmp_path / "parallel.pt").network
    assert torch.equal(t51.fc.weight, source.fc.weight)


def test_torchvision_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.arch: .*'resnet81'. Did you mean resnet\d+"):
        torchvision_model(MNIST, "resnet81")
    with pytest.raises(ConfigError, match=r"^model\.arch: alexnet cannot take images of 28x28: .*image_size=224"):
        torchvision_model(MNIST, "alexnet")
    with pytest.raises(ConfigError, match=r"^model\.weights: there is no file .*none.pt"):
        torchvision_model(MNIST, SMALL, weights=tmp_path / "none.pt")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=r"^model\.weights: .*other.pt does not fit: \d+ of \d+ tensors"):
        torchvision_model(MNIST, SMALL, weights=tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ConfigError, match=r"^model\.weights: .*something else than a state dict"):
        torchvision_model(MNIST, SMALL, weights=tmp_path / "list.pt")
    (tmp_path / "noise.pt").write_bytes(b"no weights at all")
    with pytest.raises(ConfigError, match=r"^model\.weights: .*is no state dict"):
        torchvision_model(MNIST, SMALL, weights=tmp_path / "noise.pt")


def test_t47_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "owned",)

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ConfigError, match=r"^model\.weights: .*is no state dict"):
        torchvision_model(MNIST, SMALL, weights=tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()
