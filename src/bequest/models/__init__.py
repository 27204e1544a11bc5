"""Open any model by name; heads; files to weights and back."""
