"""The tables and figures of up-convolutions and their correction (Durall, Keuper, Keuper, CVPR 2020)."""
