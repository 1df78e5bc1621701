"""The console: what Loopwright does, as pages for people."""
