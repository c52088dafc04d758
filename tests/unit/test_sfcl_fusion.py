"""FAAE, HCMA and the gate: what follows from their equations without computing them twice.

Shapes: B batch, C channels, H side of a shallow map, d length of a token, N M tokens.
"""

from __future__ import annotations

import pytest

from tellsign.types import ImageError

torch = pytest.importorskip("torch")
from sfcl_tiny import count  # noqa: E402 - needs PyTorch
from tellsign.systems.sfcl_hcmf.fusion import Faae, Hcma, SidaGate  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_published_shapes_and_parameters():
    with torch.device("meta"):
        faae, hcma = Faae(56, 192).eval(), Hcma(1792, 2048).eval()
        gate, classifier = SidaGate(2304, 1024), torch.nn.Linear(1024, 2)
        x_s, x_f = torch.zeros(2, 56, 48, 48), torch.zeros(2, 192, 48, 48)
        s, f = torch.zeros(2, 1792, 12, 12), torch.zeros(2, 2048, 6, 6)
        assert faae.attention(x_s, x_f).shape == faae(x_s, x_f).shape == (2, 56, 48, 48)
        assert hcma.attention(*hcma.embedded(s, f)).shape == (2, 8, 144, 36)
        assert hcma(s, f).shape == (2, 144, 1024)
    assert count(faae) == 42_113
    assert count(hcma) + count(gate) + count(classifier) == 10_493_954
    with torch.device("meta"):
        wide = Hcma(1792, 2048, d=1792), SidaGate(2304, 1792), torch.nn.Linear(1792, 2)
    assert sum(map(count, wide)) == 23_869_442


def test_faae_starts_with_a_gate_of_a_half_and_hears_the_spectra_through_it():
    faae = Faae(4, 6).eval()
    x_s, x_f = torch.randn(2, 4, 5, 5), torch.randn(2, 6, 5, 5)
    assert faae.gamma.tolist() == [0.0]
    weighted = faae.attention(x_s, x_f) * faae.conv_f(x_f)
    assert torch.allclose(faae(x_s, x_f) - x_s, faae.bn(faae.conv_s(weighted / 2)), atol=1e-6)
    with torch.no_grad():
        faae.gamma.fill_(-100.0)
    silent = faae.bn(faae.conv_s.bias[None, :, None, None].expand(1, 4, 1, 1))
    assert torch.allclose(faae(x_s, x_f), x_s + silent, atol=1e-6)


def test_each_row_of_alpha_is_a_distribution():
    alpha = Faae(4, 6).attention(torch.randn(2, 4, 5, 5), torch.randn(2, 6, 5, 5))
    assert alpha.shape == (2, 4, 5, 5)
    assert (alpha >= 0).all()
    assert torch.allclose(alpha.sum(dim=-1), torch.ones(2, 4, 5))
    assert alpha.std() > 1e-3


@pytest.mark.parametrize(
    ("x_s", "x_f"), [((5, 6), (5, 6)), ((5, 5), (4, 4)), ((5, 5), (5, 4))], ids=["wide", "coarse", "cut"]
)
def test_faae_refuses_maps_that_are_not_square_or_of_two_sizes(x_s, x_f):
    with pytest.raises(ImageError, match="FAAE takes square maps of one size, found 5 x"):
        Faae(4, 6)(torch.zeros(1, 4, *x_s), torch.zeros(1, 6, *x_f))


def test_each_query_of_hcma_takes_from_all_keys():
    hcma = Hcma(6, 7, d=8, heads=2).eval()
    attention = hcma.attention(*hcma.embedded(torch.randn(2, 6, 3, 3), torch.randn(2, 7, 2, 2)))
    assert attention.shape == (2, 2, 9, 4)
    assert torch.allclose(attention.sum(dim=-1), torch.ones(2, 2, 9))
    assert (attention.std(dim=-1) > 0).all()


def test_tokens_of_a_map_follow_their_positions_and_ignore_the_order_of_keys():
    hcma = Hcma(6, 7, d=8, heads=2).eval()
    s, f = torch.randn(1, 6, 3, 3), torch.randn(1, 7, 2, 2)
    found = hcma(s, f).unflatten(1, (3, 3))
    assert torch.allclose(hcma(s.flip(3), f).unflatten(1, (3, 3)), found.flip(2), atol=1e-6)
    assert torch.allclose(hcma(s, f.flip(2, 3)).unflatten(1, (3, 3)), found, atol=1e-6)
    assert not torch.allclose(hcma(s, f + 1).unflatten(1, (3, 3)), found, atol=1e-3)


def test_a_single_key_leaves_the_query_without_a_say():
    """The literal form: attention is 1, A is V, and W_Q and W_K get a gradient of exactly zero."""
    hcma = Hcma(6, 7, d=8, heads=2, tokens="vector")
    s, f = torch.randn(3, 6, 3, 3), torch.randn(3, 7, 2, 2)
    tokens = hcma.embedded(s, f)
    assert [one.shape for one in tokens] == [(3, 1, 8)] * 2
    assert torch.equal(hcma.attention(*tokens), torch.ones(3, 2, 1, 1))
    hcma(s, f).square().sum().backward()
    assert not hcma.w_q.weight.grad.any()
    assert not hcma.w_k.weight.grad.any()
    assert hcma.w_v.weight.grad.abs().max() > 1e-3
    hcma.eval()
    before = hcma(s, f)
    with torch.no_grad():
        for one in (hcma.w_q, hcma.w_k):
            one.weight.normal_()
    assert torch.equal(hcma(s, f), before)
    residual = hcma.bn(hcma.conv(tokens[0].mT)).mT
    assert torch.allclose(before - residual, hcma.w_v(tokens[1]), atol=1e-6)


def test_with_tokens_of_a_map_queries_and_keys_learn():
    hcma = Hcma(6, 7, d=8, heads=2)
    hcma(torch.randn(3, 6, 3, 3), torch.randn(3, 7, 2, 2)).square().sum().backward()
    for one in (hcma.w_q, hcma.w_k):
        assert one.weight.grad.abs().max() > 1e-6


def test_the_gate_attenuates():
    gate = SidaGate(12, 5)
    descriptor = 3 * torch.randn(4, 12)
    found = gate(descriptor)
    assert ((found > 0) & (found < 1)).all()
    expected = 1 / (1 + (-(descriptor @ gate.linear.weight.T + gate.linear.bias)).exp())
    assert torch.allclose(found, expected, atol=1e-6)
