"""One decision a file; each runs what it recommends."""
