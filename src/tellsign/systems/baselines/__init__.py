"""The detectors that re-synthesis is measured against: networks on pictures and spectra, and linear ones."""
