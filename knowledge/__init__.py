"""Data, no logic: facts, chart, method cards, sources, models, prices, and the demo task."""
