"""Predictions → reports, and the tables and figures of the papers, published and reproduced side by side."""
