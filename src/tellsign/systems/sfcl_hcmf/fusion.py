"""The hierarchical cross-modal fusion: FAAE in shallow layers, HCMA and the gate of SIDA in deep ones.

Qiao, Tian and Wang, arXiv:2504.17223, section 3.3, equations 10 to 17.

Shapes: B batch, C channels of the shallow spatial map X_S, E of the spectral map X_f, H W its height and
width; d length of a token, N positions of the deep spatial map S, M of the deep spectral map F.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tellsign.types import ImageError


class Faae(nn.Module):
    """Frequency-aware attention enhancement: X_S (B, C, H, H), X_f (B, E, H, H) → Y_S (B, C, H, H).

    Implements equations 10 to 13. Deviates: M_key is not transposed again in equation 12, since equation 11
    has transposed it already; only so does the product exist. Each channel's map is a matrix, a row of which
    attends to rows, so that maps must be square for alpha to weight the positions of a map.
    """

    def __init__(self, spatial: int, spectral: int) -> None:
        """Make the six convolutions.

        Args:    spatial: C.
                 spectral: E.
        """
        super().__init__()
        self.conv_q_f = nn.Conv2d(spectral, spatial, 1)
        self.conv_q_s = nn.Conv2d(spatial, spatial, 1)
        self.conv_k_f = nn.Conv2d(spectral, spatial, 1)
        self.conv_k_s = nn.Conv2d(spatial, spatial, 1)
        self.conv_f = nn.Conv2d(spectral, spatial, 1)
        self.conv_s = nn.Conv2d(spatial, spatial, 1)
        self.bn = nn.BatchNorm2d(spatial)
        self.gamma = nn.Parameter(torch.zeros(1))  # a sigmoid of 0.5 to start with

    def forward(self, x_s: Tensor, x_f: Tensor) -> Tensor:
        """(B, C, H, H), (B, E, H, H) → (B, C, H, H): equation 13. Raises ImageError for other shapes."""
        weighted = self.attention(x_s, x_f) * self.conv_f(x_f) * torch.sigmoid(self.gamma)
        y_s: Tensor = x_s + self.bn(self.conv_s(weighted))
        return y_s

    def attention(self, x_s: Tensor, x_f: Tensor) -> Tensor:
        """Alpha of equation 12.

        Args:    x_s: X_S (B, C, H, H).
                 x_f: X_f (B, E, H, H).
        Returns: (B, C, H, H), of which each row adds up to 1.
        Raises:  ImageError: the maps are not square, or of different sizes.
        """
        H, W = x_s.shape[-2:]
        if H != W or x_f.shape[-2:] != x_s.shape[-2:]:
            raise ImageError(
                f"FAAE takes square maps of one size, found {H} x {W} and {x_f.shape[-2]} x {x_f.shape[-1]}; "
                "give square crops, and the stage whose map has as many rows as there are blocks"
            )
        query = torch.cat((self.conv_q_f(x_f), self.conv_q_s(x_s)), dim=-1)  # equation 10: (B, C, H, 2W)
        key = torch.cat((self.conv_k_f(x_f).mT, self.conv_k_s(x_s).mT), dim=-2)  # equation 11: (B, C, 2W, H)
        return torch.softmax(query @ key / math.sqrt(2 * H), dim=-1)


class Hcma(nn.Module):
    """Hybrid cross-modal attention: deep maps S, F → A_res (B, N, d), the image's tokens told of its spectra.

    Implements equations 14 and 15, S giving the queries, F keys and values. Deviates: d is 1024, which three
    of the four printed sizes say, and not 1792.

    With tokens = "map" every position of a map is a token. With "vector", the literal form, S and F are means
    over their positions: one query and one key. A softmax over one key is 1, whatever the query. So the
    attention is constant, A is V alone, and W_Q and W_K get a gradient of exactly zero: they never learn.
    """

    def __init__(
        self, spatial: int, spectral: int, *, d: int = 1024, heads: int = 8, tokens: str = "map"
    ) -> None:
        """Make the projections.

        Args:    spatial, spectral: channels of S and of F.
                 d: length of a token, a multiple of `heads`.
                 heads: of the attention.
                 tokens: "map" or "vector".
        """
        super().__init__()
        self.heads, self.tokens = heads, tokens
        self.project_s = nn.Linear(spatial, d)
        self.project_f = nn.Linear(spectral, d)
        self.w_q = nn.Linear(d, d, bias=False)
        self.w_k = nn.Linear(d, d, bias=False)
        self.w_v = nn.Linear(d, d, bias=False)
        self.conv = nn.Conv1d(d, d, 1)
        self.bn = nn.BatchNorm1d(d)

    def forward(self, s: Tensor, f: Tensor) -> Tensor:
        """(B, ·, h, w) S, (B, ·, h', w') F → A_res (B, N, d): equation 15. N is 1 for "vector"."""
        s, f = self.embedded(s, f)
        heard = self.attention(s, f) @ self._heads(self.w_v(f))  # equation 14: (B, heads, N, d / heads)
        a_res: Tensor = heard.transpose(1, 2).flatten(2) + self.bn(self.conv(s.mT)).mT
        return a_res

    def embedded(self, s: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """S' and F', the tokens.

        Args:    s, f: the deep maps, (B, ·, h, w) each.
        Returns: (B, N, d) and (B, M, d).
        """
        return self.project_s(self._tokens(s)), self.project_f(self._tokens(f))

    def attention(self, s: Tensor, f: Tensor) -> Tensor:
        """The softmax of equation 14.

        Args:    s: S' (B, N, d), from `embedded`.
                 f: F' (B, M, d).
        Returns: (B, heads, N, M): how much of each spectral token each spatial one takes.
        """
        query, key = self._heads(self.w_q(s)), self._heads(self.w_k(f))
        return torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]), dim=-1)

    def _tokens(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, h w, C), or (B, 1, C)."""
        return x.flatten(2).mT if self.tokens == "map" else x.mean(dim=(2, 3))[:, None]

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, d) → (B, heads, N, d / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class SidaGate(nn.Module):
    """The statistics of a picture as a gate: D (B, n) → g (B, d) in (0, 1), which can only attenuate.

    Implements equation 16, whose alpha is the sigmoid that the text names.
    """

    def __init__(self, n: int, d: int) -> None:
        """Make W_g and b_g.

        Args:    n: numbers of the descriptor, scaled.
                 d: length of a token.
        """
        super().__init__()
        self.linear = nn.Linear(n, d)

    def forward(self, descriptor: Tensor) -> Tensor:
        """(B, n) → (B, d)."""
        return torch.sigmoid(self.linear(descriptor))
