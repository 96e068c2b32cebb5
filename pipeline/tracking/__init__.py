"""Records → MLflow by one writer, and back by one query layer."""
