"""Verdicts with their evidence as one HTML page, and as picture files."""

from tellsign.explain.page import Explanation, page, save_pictures, write_page

__all__ = ["Explanation", "page", "save_pictures", "write_page"]
