"""Pure algebra on weights: a mapping from name to tensor, never edited in place."""
