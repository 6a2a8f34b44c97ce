"""Retrievers: BM25 in process, over files, and over HTTP."""
