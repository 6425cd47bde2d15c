"""run.json as a page, a model card, and terminal text."""
