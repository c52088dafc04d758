"""Tellsign tells real photographs from generated and manipulated ones, and shows its evidence."""

__version__ = "0.1.0"
