"""Tables of runs over methods, rates and seeds."""
