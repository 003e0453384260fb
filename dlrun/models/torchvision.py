"""The classification models of torchvision, with the first and the last layer fitted to the data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dlrun.errors import ConfigError, Problem, did_you_mean, first_line
from dlrun.models.parts import VECTOR_TASKS, check, shape_after
from dlrun.spec import DataSpec


class Fitted(nn.Module):
    """`network` (torchvision's own module) on images of the size that it wants."""

    def __init__(self, network: nn.Module, image_size: int | None) -> None:
        super().__init__()
        self.network = network
        self.image_size = image_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        if self.image_size is not None and x.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            x = interpolate(x, size, mode="bilinear", antialias=True)
        return self.network(x)


def torchvision_model(
    spec: DataSpec, arch: str = "resnet18", weights: str | Path | None = None, image_size: int | None = None
) -> nn.Module:
    """Any classification architecture of `torchvision.models`. (N, C, H, W) to (N, K).

    The first convolution takes the data's channels, the last layer gives its outputs; auxiliary heads are
    left out. `weights` is a file with a state dict (never a download): tensors of the right shape are taken,
    a first convolution is summed over its channels for grayscale images, and the last layer stays fresh where the
    classes differ. `image_size` scales the images inside the model. Raises `ConfigError` for an unknown
    architecture, images that are too small for it, and weights that belong to another one.
    """
    check(spec, "torchvision", ("image",), VECTOR_TASKS)
    try:
        network = _build(arch, spec.num_outputs, image_size)
        first = _fit_channels(network, spec.input_shape[0])
        model = Fitted(network, image_size)
        shape_after(model, spec.input_shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        size = "x".join(map(str, spec.input_shape[1:]))
        reason = first_line(error).rstrip(".")
        message = f"{arch} cannot take images of {image_size or size}: {reason}."
        hint = "Set model.image_size=224." if image_size is None else "Set another model.image_size."
        raise ConfigError(Problem("model.arch", message, hint)) from error
    if weights is not None:
        _load(network, Path(weights), first)
    return model


def _build(arch: str, outputs: int, image_size: int | None) -> nn.Module:
    """torchvision's module with random weights and `outputs` outputs, without auxiliary heads."""
    from torchvision import models

    names = models.list_models(module=models)
    if arch not in names:
        hint = did_you_mean(arch, names) or f"Some are: {', '.join(names[::8])}."
        raise ConfigError(Problem("model.arch", f"torchvision has no classification model {arch!r}.", hint))
    options: dict[str, Any] = {"num_classes": outputs}
    if arch in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    if image_size is not None and arch.startswith("vit_"):
        options["image_size"] = image_size
    return models.get_model(arch, weights=None, **options)


def _fit_channels(network: nn.Module, channels: int) -> str:
    """Fits the first convolution to the input, by a fresh one where needed. Returns its weight's name."""
    name, conv = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels == channels:
        return f"{name}.weight"
    parent, _, child = name.rpartition(".")
    fitted = nn.Conv2d(
        channels,
        conv.out_channels,
        kernel_size=conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )
    setattr(network.get_submodule(parent), child, fitted)
    return f"{name}.weight"


def _load(network: nn.Module, path: Path, first: str) -> None:
    """Weights from a file into `network`; see `torchvision_model` for what may differ."""
    loaded = _read(path)
    own = network.state_dict()
    if first in loaded and first in own and loaded[first].shape != own[first].shape and own[first].shape[1] == 1:
        loaded[first] = loaded[first].sum(dim=1, keepdim=True)
    fitting = {key: value for key, value in loaded.items() if key in own and value.shape == own[key].shape}
    missing = [key for key in own if key not in fitting]
    # The two fitted layers may differ from the file's; anything else means another architecture.
    last = next(reversed(own)).rpartition(".")[0]
    strange = [key for key in missing if key != first and key.rpartition(".")[0] != last]
    if strange:
        message = f"{path} does not fit: {len(strange)} of {len(own)} tensors are missing or of another shape"
        hint = "Set model.arch to the architecture that the file was made with."
        raise ConfigError(Problem("model.weights", f"{message}, the first is {strange[0]}.", hint))
    network.load_state_dict(fitting, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict from a file, on the CPU; nothing in the file can run code."""
    try:
        loaded = torch.load(os.path.expanduser(path), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(Problem("model.weights", f"there is no file {path}.")) from error
    except Exception as error:  # torch raises whatever a damaged or foreign file makes it meet
        message = f"{path} is no state dict of tensors: {type(error).__name__}."
        raise ConfigError(
            Problem("model.weights", message, "Save one with torch.save(net.state_dict(), FILE).")
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        message = f"{path} holds something else than a state dict of tensors."
        raise ConfigError(Problem("model.weights", message, "For a dlrun checkpoint use init_from."))
    # DataParallel and DDP put `module.` before every name.
    return {key.removeprefix("module."): value for key, value in loaded.items()}
