"""Paths and a detector → predictions and verdicts: workers, resume, output files, the domain check."""
