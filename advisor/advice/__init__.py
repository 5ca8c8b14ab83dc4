"""What to do with a decision: the form of each method, the steps to take, what to be warned of, the risks."""
