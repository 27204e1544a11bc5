"""The one training loop, its schedules, and the trajectory that it leaves."""
