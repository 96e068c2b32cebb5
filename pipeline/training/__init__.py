"""The loop for one trial. Knows neither Ray nor MLflow."""
