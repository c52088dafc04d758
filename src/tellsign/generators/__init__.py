"""Generators and their spectra: a loss and a discriminator that correct them, and how far they are off."""
