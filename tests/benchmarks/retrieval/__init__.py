"""What `bench_prompting` measures: how fast prompts are answered, and how well."""
