"""Detection by the azimuthally averaged spectrum (Durall, Keuper, Keuper, CVPR 2020)."""
