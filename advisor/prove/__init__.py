"""Proves a recommendation on the user's own held-out rows: candidates raced, one chosen, the decision revised."""
