"""Downloads, class folders and lists made ready before a run."""
