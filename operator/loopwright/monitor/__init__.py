"""What watches an endpoint: it scrapes the pods of all variants and reports what it saw."""
