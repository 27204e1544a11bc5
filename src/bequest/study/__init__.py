"""A study: what was asked (spec), the steps (plan), their results (store), who runs them (engines)."""
