"""Where Linux, macOS and Windows differ."""
