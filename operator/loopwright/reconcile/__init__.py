"""One module a kind: observe, decide, report, act."""
