"""Generators and their spectra: a loss and a discriminator that correct them, and how far they are off."""
"""Generators and their spectra: the up-convolution study, GANs, and losses that mend a spectrum."""
