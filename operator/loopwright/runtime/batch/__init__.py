"""What runs in the Ray pods of a BatchTransform."""
