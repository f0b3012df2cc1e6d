"""The commands: command line in, exit code out."""
