"""Who carries out the steps of a plan."""
