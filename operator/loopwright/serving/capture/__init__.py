"""Keeps a sample of requests and answers, in Parquet files by hour.

The server itself only chooses and hands over. A process of its own redacts, packs and uploads,
since packing a file of Parquet holds Python's lock for tens of milliseconds.
"""
