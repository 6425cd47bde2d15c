"""Before against after on the held-out rows: losses, greedy answers, and the verdict."""
