"""Manifests: what is in a data set, how it is split, how it is made from folders and tables."""

from tellsign.data.manifest import Manifest, read, write

__all__ = ["Manifest", "read", "write"]
