"""The experiments of CAE-Net as a queue of trainings that can be stopped, and the tables made from them."""
