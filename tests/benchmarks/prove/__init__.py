"""What `bench_prove` measures: false and missed winners, and how honest extrapolated curves are."""
