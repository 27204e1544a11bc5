"""Run a model with given weights: predictions, activations, BatchNorm, tasks."""
