"""Decides how to adapt a language model: asks, measures, recommends, and hands the plan to `executors`."""
