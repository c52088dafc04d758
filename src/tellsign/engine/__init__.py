"""Training of networks: one loop for all of them, with checkpoints, a record of the run, and their scores."""
