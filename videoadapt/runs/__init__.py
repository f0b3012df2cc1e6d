"""One run: its folder, what it is built of, and what it leaves."""
