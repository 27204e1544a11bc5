"""What the pages get from the code when they are built, so that they cannot go stale."""
