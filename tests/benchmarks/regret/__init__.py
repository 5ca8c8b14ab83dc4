"""What is lost by taking the advice, instead of running every method to the end: data sets, answers, oracle, scores."""
