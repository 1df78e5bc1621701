"""Pure decisions: state in, decision out; the clock is an argument."""
