"""The tables and figures of SFCL-HCMF: trainings in a queue that can be stopped, and its statistics alone."""
