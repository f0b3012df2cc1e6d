"""A trained run asked about videos."""
