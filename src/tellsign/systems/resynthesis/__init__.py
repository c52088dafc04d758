"""Detection by re-synthesis; see README.md in this folder."""
