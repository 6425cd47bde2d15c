"""One file a case: only what differs from the defaults in bench/case.py."""
