"""The original projects' U-Nets as functions of named weights, written for the tests from published descriptions.

A weight comes into being, random, when the forward pass first asks for it, so that one pass makes the state dict that
the original code would save: the names are the originals', the code is not.
"""

import math

import torch
from torch.nn import functional as F


class Weights(dict):
    """Named random tensors, made on first use; large enough that no part of a network is without effect."""

    def __init__(self, seed=0):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def tensor(self, key, *shape, scale=1.0, around=0.0):
        if key not in self:
            self[key] = around + scale * torch.randn(*shape, generator=self.generator)
        assert self[key].shape == shape, key
        return self[key]

    def linear(self, key, x, out):
        weight = self.tensor(f"{key}.weight", out, x.shape[-1], scale=x.shape[-1] ** -0.5)
        return F.linear(x, weight, self.tensor(f"{key}.bias", out, scale=0.1))

    def conv(self, key, x, out, kernel=3, **how):
        dims = x.ndim - 2
        fan = x.shape[1] * kernel**dims
        weight = self.tensor(f"{key}.weight", out, x.shape[1], *[kernel] * dims, scale=fan**-0.5)
        convolve = F.conv2d if dims == 2 else F.conv1d
        return convolve(x, weight, self.tensor(f"{key}.bias", out, scale=0.1), **{"padding": kernel // 2, **how})

    def norm(self, key, x, eps):
        c = x.shape[1]
        gain, shift = self.tensor(f"{key}.weight", c, scale=0.2, around=1.0), self.tensor(f"{key}.bias", c, scale=0.2)
        return F.group_norm(x, 32, gain, shift, eps)


def attend(q, k, v):
    """softmax(qᵀk / √c) v over positions, one head, each (B, c, N)."""
    weights = torch.softmax(torch.einsum("bcn,bcm->bnm", q, k) / math.sqrt(q.shape[1]), dim=-1)
    return torch.einsum("bnm,bcm->bcn", weights, v)


def openai(w, x, t, *, width, mult, n, attention, heads=1, head_channels=None, new_order=False, **options):
    """OpenAI's U-Net at (x, t); ``attention`` holds downsampling rates, ``n`` is residual blocks a level.

    Options: out (channels), resnet_steps (resblock_updown), scale_shift.
    """
    out, resnet_steps, scale_shift = (options[key] for key in ("out", "resnet_steps", "scale_shift"))
    half = width // 2
    angles = t * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    time = torch.cat([angles.cos(), angles.sin()])[None].expand(len(x), -1)
    time = w.linear("time_embed.2", F.silu(w.linear("time_embed.0", time, 4 * width)), 4 * width)

    def resnet(key, x, c, resize=lambda h: h):
        h = w.conv(f"{key}.in_layers.2", resize(F.silu(w.norm(f"{key}.in_layers.0", x, 1e-5))), c)
        e = w.linear(f"{key}.emb_layers.1", F.silu(time), 2 * c if scale_shift else c)[:, :, None, None]
        if scale_shift:
            h = w.norm(f"{key}.out_layers.0", h, 1e-5) * (1 + e[:, :c]) + e[:, c:]
        else:
            h = w.norm(f"{key}.out_layers.0", h + e, 1e-5)
        h = w.conv(f"{key}.out_layers.3", F.silu(h), c)
        x = resize(x)
        return h + (x if x.shape[1] == c else w.conv(f"{key}.skip_connection", x, c, kernel=1))

    def attended(key, x):
        c = x.shape[1]
        flat = x.flatten(2)
        qkv = w.conv(f"{key}.qkv", w.norm(f"{key}.norm", flat, 1e-5), 3 * c, kernel=1)
        count = c // head_channels if head_channels else heads
        each = c // count
        found = []
        for head in range(count):
            first = [kind * c + head * each if new_order else (3 * head + kind) * each for kind in range(3)]
            found.append(attend(*(qkv[:, i : i + each] for i in first)))
        return (flat + w.conv(f"{key}.proj_out", torch.cat(found, dim=1), c, kernel=1)).reshape(x.shape)

    h = w.conv("input_blocks.0.0", x, width)
    skips, number, rate = [h], 0, 1
    for level, m in enumerate(mult):
        for _ in range(n):
            number += 1
            h = resnet(f"input_blocks.{number}.0", h, m * width)
            if rate in attention:
                h = attended(f"input_blocks.{number}.1", h)
            skips.append(h)
        if level < len(mult) - 1:
            number, rate = number + 1, 2 * rate
            if resnet_steps:
                h = resnet(f"input_blocks.{number}.0", h, h.shape[1], lambda y: F.avg_pool2d(y, 2))
            else:
                h = w.conv(f"input_blocks.{number}.0.op", h, h.shape[1], stride=2)
            skips.append(h)
    h = resnet("middle_block.0", h, h.shape[1])
    h = resnet("middle_block.2", attended("middle_block.1", h), h.shape[1])
    number = -1
    for level, m in reversed(list(enumerate(mult))):
        for i in range(n + 1):
            number += 1
            h = resnet(f"output_blocks.{number}.0", torch.cat([h, skips.pop()], dim=1), m * width)
            member = 1
            if rate in attention:
                h = attended(f"output_blocks.{number}.1", h)
                member = 2
            if level and i == n:
                rate //= 2
                if resnet_steps:
                    h = resnet(f"output_blocks.{number}.{member}", h, h.shape[1], _doubled)
                else:
                    h = w.conv(f"output_blocks.{number}.{member}.conv", _doubled(h), h.shape[1])
    assert not skips
    return w.conv("out.2", F.silu(w.norm("out.0", h, 1e-5)), out)


def ddpm(w, x, t, *, width, mult, n, attention):
    """The original DDPM's U-Net at (x, t); ``attention`` holds level numbers."""
    half = width // 2
    angles = t * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / (half - 1))
    time = torch.cat([angles.sin(), angles.cos()])[None].expand(len(x), -1)
    time = w.linear("temb.dense.1", F.silu(w.linear("temb.dense.0", time, 4 * width)), 4 * width)

    def resnet(key, x, c):
        h = w.conv(f"{key}.conv1", F.silu(w.norm(f"{key}.norm1", x, 1e-6)), c)
        h = h + w.linear(f"{key}.temb_proj", F.silu(time), c)[:, :, None, None]
        h = w.conv(f"{key}.conv2", F.silu(w.norm(f"{key}.norm2", h, 1e-6)), c)
        return h + (x if x.shape[1] == c else w.conv(f"{key}.nin_shortcut", x, c, kernel=1))

    def attended(key, x):
        normed, c = w.norm(f"{key}.norm", x, 1e-6), x.shape[1]
        q, k, v = (w.conv(f"{key}.{name}", normed, c, kernel=1).flatten(2) for name in "qkv")
        return x + w.conv(f"{key}.proj_out", attend(q, k, v).reshape(x.shape), c, kernel=1)

    h = w.conv("conv_in", x, width)
    skips = [h]
    for level, m in enumerate(mult):
        for i in range(n):
            h = resnet(f"down.{level}.block.{i}", h, m * width)
            if level in attention:
                h = attended(f"down.{level}.attn.{i}", h)
            skips.append(h)
        if level < len(mult) - 1:
            padded = F.pad(h, (0, 1, 0, 1))
            h = w.conv(f"down.{level}.downsample.conv", padded, h.shape[1], stride=2, padding=0)
            skips.append(h)
    h = resnet("mid.block_1", h, h.shape[1])
    h = resnet("mid.block_2", attended("mid.attn_1", h), h.shape[1])
    for level, m in reversed(list(enumerate(mult))):
        for i in range(n + 1):
            h = resnet(f"up.{level}.block.{i}", torch.cat([h, skips.pop()], dim=1), m * width)
            if level in attention:
                h = attended(f"up.{level}.attn.{i}", h)
        if level:
            h = w.conv(f"up.{level}.upsample.conv", _doubled(h), h.shape[1])
    assert not skips
    return w.conv("conv_out", F.silu(w.norm("norm_out", h, 1e-6)), x.shape[1])


def _doubled(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")
