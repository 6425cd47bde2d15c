"""The bench: the same work done by several legs, each in a process of its own, and a record that a sceptic can repeat."""
