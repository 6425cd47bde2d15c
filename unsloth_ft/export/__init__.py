"""From a trained adapter to files that other programs load, each compared with what it came from."""
