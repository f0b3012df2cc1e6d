"""A page in a browser, on this machine only: drop a film, see what happens in it (docs/page.md)."""
