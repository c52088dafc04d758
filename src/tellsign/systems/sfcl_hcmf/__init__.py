"""SFCL-HCMF (Qiao, Tian and Wang, arXiv:2504.17223): the image and its block-DCT spectra, fused twice."""
