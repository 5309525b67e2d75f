"""A second opinion on what a policy file means: an evaluator in plain Python that never looks at the product's code."""
