"""Networks in other runtimes: exported with parity from input to prediction, run, and timed."""
