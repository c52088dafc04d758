"""Systems learn: one folder a paper, independent of each other. They need the `train` extra."""
