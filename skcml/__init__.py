"""skcml: few-shot and meta-learning for grouped tables, in scikit-learn style."""
