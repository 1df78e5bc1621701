"""Pure builders: what a job's children must be. No I/O, no clock, no logging."""
