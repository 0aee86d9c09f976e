"""Meta-gradient rules, one file each: the derivative of a learner's result."""
