"""CAE-Net (Bhattacharjee et al., arXiv:2502.10682): three networks, one on wavelet sub-bands, fused."""
