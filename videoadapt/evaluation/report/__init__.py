"""report.html: everything about a run on one page, and runs side by side."""
