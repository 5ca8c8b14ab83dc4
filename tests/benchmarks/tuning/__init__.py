"""What `bench_tuning` measures: how fast models are tuned, how well they answer, and what they forget."""
