"""One file a model; the file's name is the recipe's name. Values and their reasons, no logic."""
