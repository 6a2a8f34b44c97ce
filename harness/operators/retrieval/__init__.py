"""Retrievers behind the operator Search: BM25 in process, over files, and over HTTP."""
