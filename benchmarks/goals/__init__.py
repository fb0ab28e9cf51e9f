"""The goals of the index layer, one module each: `goal_NN.run(options) -> rows`."""
