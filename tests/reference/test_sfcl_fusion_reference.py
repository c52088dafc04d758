"""FAAE and HCMA against loops written from equations 10 to 15 in float64, one number at a time.

Shapes: B batch, C E channels, H side of a shallow map, d length of a token, N M tokens, D = d / heads.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from tellsign.systems.sfcl_hcmf.fusion import Faae, Hcma  # noqa: E402 - needs PyTorch


def ready(module):
    """In evaluation mode and float64, no parameter and no statistic at its start value."""
    torch.manual_seed(7)
    module = module.double().eval()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand_like(tensor))
    return module


def linear(layer, x):
    """(n, C) → (n, E) of a linear layer or a convolution with kernels of one position."""
    weight = layer.weight.detach().numpy().reshape(layer.weight.shape[:2])
    bias = 0.0 if layer.bias is None else layer.bias.detach().numpy()
    return np.stack([[weight[e] @ row for e in range(len(weight))] for row in x]) + bias


def conv(layer, x):
    """(C, H, W) → (E, H, W)."""
    C, H, W = x.shape
    return linear(layer, x.reshape(C, -1).T).T.reshape(-1, H, W)


def norm(layer, x):
    """(n, C), as batch normalisation does in evaluation mode."""
    mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return (x - mean) / np.sqrt(variance + layer.eps) * weight + bias


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def slow_alpha(faae, x_s, x_f):
    """(C, H, H), (E, H, H) → (C, H, H): equations 10 to 12."""
    q_f, q_s = conv(faae.conv_q_f, x_f), conv(faae.conv_q_s, x_s)
    k_f, k_s = conv(faae.conv_k_f, x_f), conv(faae.conv_k_s, x_s)
    C, H, W = x_s.shape
    alpha = np.empty((C, H, H))
    for c in range(C):
        for i in range(H):
            row = []
            for j in range(H):
                product = sum(q_f[c, i, w] * k_f[c, j, w] + q_s[c, i, w] * k_s[c, j, w] for w in range(W))
                row.append(product / math.sqrt(2 * H))
            alpha[c, i] = softmax(row)
    return alpha


def test_faae_is_its_equations():
    faae = ready(Faae(3, 5))
    x_s, x_f = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 5, 4, 4).double()
    with torch.no_grad():
        alpha, found = faae.attention(x_s, x_f).numpy(), faae(x_s, x_f).numpy()
    gate = 1 / (1 + math.exp(-faae.gamma.item()))
    for b, (s, f) in enumerate(zip(x_s.numpy(), x_f.numpy(), strict=True)):
        expected = slow_alpha(faae, s, f)
        assert np.allclose(alpha[b], expected, atol=1e-12)
        projected = conv(faae.conv_s, expected * conv(faae.conv_f, f) * gate)
        normed = norm(faae.bn, projected.reshape(3, -1).T).T.reshape(3, 4, 4)
        assert np.allclose(found[b], s + normed, atol=1e-12)
    assert alpha.std() > 1e-2


@pytest.mark.parametrize("tokens", ["map", "vector"])
def test_hcma_is_its_equations(tokens):
    heads, d = 2, 6
    hcma = ready(Hcma(4, 5, d=d, heads=heads, tokens=tokens))
    maps_s, maps_f = torch.randn(2, 4, 3, 3).double(), torch.randn(2, 5, 2, 2).double()
    with torch.no_grad():
        found = hcma(maps_s, maps_f).numpy()
        attention = hcma.attention(*hcma.embedded(maps_s, maps_f)).numpy()
    for b in range(2):
        tokens_s = maps_s[b].numpy().reshape(4, -1).T
        tokens_f = maps_f[b].numpy().reshape(5, -1).T
        if tokens == "vector":
            tokens_s, tokens_f = (one.mean(axis=0, keepdims=True) for one in (tokens_s, tokens_f))
        s, f = linear(hcma.project_s, tokens_s), linear(hcma.project_f, tokens_f)
        query, key, value = linear(hcma.w_q, s), linear(hcma.w_k, f), linear(hcma.w_v, f)
        heard, size = np.zeros((len(s), d)), d // heads
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            for n in range(len(s)):
                dots = [query[n, own] @ key[m, own] / math.sqrt(d / heads) for m in range(len(f))]
                weights = softmax(dots)
                assert np.allclose(attention[b, head, n], weights, atol=1e-12)
                for m, weight in enumerate(weights):
                    heard[n, own] += weight * value[m, own]
        expected = heard + norm(hcma.bn, linear(hcma.conv, s))
        assert np.allclose(found[b], expected, atol=1e-12)


def test_hcma_attends_as_pytorch_does():
    hcma = ready(Hcma(4, 5, d=6, heads=3))
    s, f = torch.randn(2, 9, 6).double(), torch.randn(2, 4, 6).double()
    reference = torch.nn.MultiheadAttention(6, 3, bias=False, batch_first=True).double().eval()
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([hcma.w_q.weight, hcma.w_k.weight, hcma.w_v.weight]))
        _, expected = reference(s, f, f, average_attn_weights=False)
        assert torch.allclose(hcma.attention(s, f), expected, atol=1e-12)
