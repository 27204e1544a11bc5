"""Read, split, pack once, and hand out batches of images."""
